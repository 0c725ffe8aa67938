"""Work without a listener: many texts spoken into a folder, and an installation packed and unpacked."""
