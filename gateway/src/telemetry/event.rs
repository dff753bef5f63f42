//! Rare things, told once.
