//! certstore
