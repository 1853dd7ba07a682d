"""The kernel: accounts, sessions, routing, stages, durability. It knows no feature; features are components."""
