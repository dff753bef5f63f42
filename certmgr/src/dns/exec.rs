//! TXT records by a command of the operator's.

use crate::acme::IssueError;
use crate::config::ExecHook;
use crate::store::BoxFuture;

use super::{TxtRecord, TxtRecords};

/// Runs the command once for each record.
#[derive(Debug)]
pub(super) struct Hook {
    hook: ExecHook,
}

impl Hook {
    pub(super) fn new(hook: ExecHook) -> Self {
        Self { hook }
    }
}
impl TxtRecords for Hook {
    fn present<'a>(&'a self, _records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move { Err(super::failure(format!("{:?}", self.hook.command), "")) })
    }
    fn clean_up<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        self.present(records)
    }
}
