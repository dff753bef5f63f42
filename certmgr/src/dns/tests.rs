//! Questions and findings against a small name server. This file has the vocabulary.

mod findings;
mod questions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CAA, CNAME};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::Lookup;

/// A resolver on UDP with given answers. It does not follow CNAMEs: the client must.
pub(super) struct TestDns {
    pub(super) address: SocketAddr,
    questions: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// The answer about a name. `*.parent` stands for all names that do not exist.
#[derive(Debug, Clone)]
pub(super) enum DnsAnswer {
    A(&'static str),
    Cname(&'static str),
    /// Flags, tag, value.
    Caa(u8, &'static str, &'static str),
    /// SERVFAIL to questions for this type.
    ServFail(RecordType),
    /// No answer to questions for this type.
    Nothing(RecordType),
}

use DnsAnswer::{A as Address, Caa, Cname, Nothing, ServFail};

impl TestDns {
    pub(super) async fn start(zone: &[(&'static str, DnsAnswer)]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let questions = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(serve(socket, zone.to_vec(), Arc::clone(&questions)));
        Self {
            address,
            questions,
            task,
        }
    }

    fn lookup(&self) -> Lookup {
        Lookup::new(&[self.address])
    }

    fn questions(&self) -> u64 {
        self.questions.load(Ordering::SeqCst)
    }
}

impl Drop for TestDns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Vec<(&'static str, DnsAnswer)>, questions: Arc<AtomicU64>) {
    let mut buffer = [0; 1500];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        let question = Message::from_vec(&buffer[..length]).unwrap();
        questions.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = answer(&question, &zone) {
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    }
}

fn answer(question: &Message, zone: &[(&'static str, DnsAnswer)]) -> Option<Message> {
    let query = question.queries[0].clone();
    let name = query.name().to_ascii().to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    let record = query.query_type();
    let here = |wanted: &str| -> Vec<&DnsAnswer> {
        zone.iter()
            .filter(|(name, _)| *name == wanted)
            .map(|(_, says)| says)
            .collect()
    };
    let mut says = here(name);
    let is_parent = zone.iter().any(|(other, _)| other.ends_with(&format!(".{name}")));
    if says.is_empty() && !is_parent {
        let mut parent = name;
        while let Some((_, rest)) = parent.split_once('.') {
            says = here(&format!("*.{rest}"));
            if !says.is_empty() {
                break;
            }
            parent = rest;
        }
    }
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.recursion_available = true;
    message.metadata.recursion_desired = true;
    if says.is_empty() && !is_parent {
        message.metadata.response_code = ResponseCode::NXDomain;
    }
    for says in says {
        match says {
            Nothing(about) if *about == record => return None,
            ServFail(about) if *about == record => message.metadata.response_code = ResponseCode::ServFail,
            other => {
                let data = other.data();
                let fits = data.as_ref().is_some_and(|data| {
                    data.record_type() == record || data.record_type() == RecordType::CNAME
                });
                if let (true, Some(data)) = (fits, data) {
                    message.add_answer(Record::from_rdata(query.name().clone(), 300, data));
                }
            }
        }
    }
    message.add_query(query);
    Some(message)
}

impl DnsAnswer {
    fn data(&self) -> Option<RData> {
        match self {
            Self::A(address) => Some(RData::A(A(address.parse().unwrap()))),
            Self::Cname(target) => Some(RData::CNAME(CNAME(
                Name::from_ascii(format!("{target}.")).unwrap(),
            ))),
            Self::Caa(flags, tag, value) => {
                let mut caa = CAA::new_issue(flags & 128 != 0, None, Vec::new());
                caa.tag = (*tag).to_owned();
                caa.value = value.as_bytes().to_vec();
                Some(RData::CAA(caa))
            }
            Self::ServFail(_) | Self::Nothing(_) => None,
        }
    }
}
