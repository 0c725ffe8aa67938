"""The gate: measures the engine, holds it to baselines, gives one verdict. The engine never imports it."""
