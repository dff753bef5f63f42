//! The quiet clients: each keeps its connection and asks every few milliseconds.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::{H2Client, TestCa, TestGateway, pack, proof, request};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many there are.
pub(crate) const CLIENTS: usize = 20;
/// A quiet client that has waited so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The quiet clients; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Quiet {
    seen: Arc<Mutex<Suffered>>,
    _clients: JoinSet<()>,
}

/// What they have seen since somebody asked.
#[derive(Debug, Default)]
pub(crate) struct Suffered {
    pub(crate) answers: usize,
    pub(crate) failures: Vec<String>,
    pub(crate) worst: Duration,
}

impl Quiet {
    pub(crate) async fn start(gateway: &TestGateway, ca: &TestCa) -> Self {
        let seen = Arc::new(Mutex::new(Suffered::default()));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = H2Client::tls(gateway, ca).await;
            ask(&client).await.expect("before the attack");
            clients.spawn(keep_asking(number, client, Arc::clone(&seen)));
        }
        Self {
            seen,
            _clients: clients,
        }
    }

    /// What they have seen since this was last asked.
    pub(crate) fn take(&self) -> Suffered {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn keep_asking(number: usize, client: H2Client, seen: Arc<Mutex<Suffered>>) {
    // Their number times this is how often somebody asks; without optimisation the asking takes a millisecond.
    let pause = Duration::from_millis(if proof() { 10 } else { 40 });
    tokio::time::sleep(pause * number as u32 / CLIENTS as u32).await;
    loop {
        let began = Instant::now();
        let answered = timeout(PATIENCE, ask(&client)).await;
        let waited = began.elapsed();
        let failure = match answered {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(format!("no answer within {PATIENCE:?}")),
        };
        if !note(&mut seen.lock().unwrap(), waited, failure) {
            // Its connection is of no use any more, and it was meant to be kept.
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Whether all was well.
fn note(seen: &mut Suffered, waited: Duration, failure: Option<String>) -> bool {
    let well = failure.is_none();
    seen.worst = seen.worst.max(waited);
    seen.answers += usize::from(well);
    seen.failures.extend(failure);
    well
}

/// One RPC; what was wrong with its answer.
pub(crate) async fn ask(client: &H2Client) -> Result<(), String> {
    let asked = client.ask(request("/quiet.Echo/Unary").body(()).unwrap(), pack(b"ping"));
    let answer = asked.await.map_err(|error| error.to_string())?;
    if answer.grpc_status() == Some(0) && answer.messages() == [&b"ping"[..]] {
        Ok(())
    } else {
        Err(format!("{answer:?}"))
    }
}
