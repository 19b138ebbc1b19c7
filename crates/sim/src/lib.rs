//! The plant: a simulated service that the decision is tried on.
