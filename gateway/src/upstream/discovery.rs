//! stub
use std::sync::Arc;
use crate::snapshot::Backend;
pub(crate) struct Discovery;
impl Discovery {
    pub(crate) fn start() -> Self { Self }
    pub(crate) fn follow(&self, _: &[Arc<Backend>]) {}
}
