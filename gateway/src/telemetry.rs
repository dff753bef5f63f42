//! Counters of the data path: written per worker, added up when somebody asks.
