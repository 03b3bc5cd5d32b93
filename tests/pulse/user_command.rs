//! `pulse user`: who takes part, and who does no more.
