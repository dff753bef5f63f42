//! stub
#[derive(Debug, Clone)]
pub struct AccessLogSink;
pub(crate) struct Batch { on: bool }
impl Batch {
    pub(crate) fn new(sink: Option<AccessLogSink>) -> Self { Self { on: sink.is_some() } }
    pub(crate) fn is_on(&self) -> bool { self.on }
    pub(crate) fn rpc(&mut self, _: &crate::rpc::relay::Relay, _: &crate::rpc::relay::LogEntry, _: &crate::connection::Client, _: u8, _: std::time::Duration) {}
    pub(crate) fn hand_over(&mut self) {}
}
