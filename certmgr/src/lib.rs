//! certmgr
