"""The gate: measures the engine, holds it to committed baselines, gives one verdict. The engine never imports it."""
