//! The quiet clients: each keeps its connection and asks every few milliseconds.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::{H2Client, TestCa, TestGateway, pack, proof, request};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Number of quiet clients.
pub(crate) const CLIENTS: usize = 20;
/// A quiet client that has waited so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The quiet clients; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Quiet {
    seen: Arc<Mutex<Seen>>,
    _clients: JoinSet<()>,
}

/// Failures and delays of the quiet clients since the last look.
#[derive(Debug, Default)]
pub(crate) struct Suffered {
    pub(crate) answers: usize,
    pub(crate) failures: Vec<String>,
    pub(crate) worst: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    suffered: Suffered,
    /// Since when each waits for an answer.
    asked_at: [Option<Instant>; CLIENTS],
}

impl Seen {
    /// Notes a result of a client; true if it was good.
    fn note(&mut self, number: usize, waited: Duration, failure: Option<String>) -> bool {
        let well = failure.is_none();
        let suffered = &mut self.suffered;
        suffered.worst = suffered.worst.max(waited);
        suffered.answers += usize::from(well);
        suffered.failures.extend(failure);
        self.asked_at[number] = None;
        well
    }

    /// Takes the failures and delays until now, with those of clients that still wait.
    fn take(&mut self, now: Instant) -> Suffered {
        let mut suffered = std::mem::take(&mut self.suffered);
        if let Some(oldest) = self.asked_at.iter().flatten().min() {
            suffered.worst = suffered.worst.max(now.saturating_duration_since(*oldest));
        }
        suffered
    }
}

impl Quiet {
    pub(crate) async fn start(gateway: &TestGateway, ca: &TestCa) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
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

    /// Failures and delays since the last call.
    pub(crate) fn take(&self) -> Suffered {
        self.seen.lock().unwrap().take(Instant::now())
    }
}

async fn keep_asking(number: usize, client: H2Client, seen: Arc<Mutex<Seen>>) {
    // Their number times this is how often somebody asks; without optimisation the asking takes a millisecond.
    let pause = Duration::from_millis(if proof() { 10 } else { 40 });
    tokio::time::sleep(pause * number as u32 / CLIENTS as u32).await;
    loop {
        let began = Instant::now();
        seen.lock().unwrap().asked_at[number] = Some(began);
        let answered = timeout(PATIENCE, ask(&client)).await;
        let waited = began.elapsed();
        let failure = match answered {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(format!("no answer within {PATIENCE:?}")),
        };
        if !seen.lock().unwrap().note(number, waited, failure) {
            // Its connection is of no use any more, and it was meant to be kept.
            return;
        }
        tokio::time::sleep(pause).await;
    }
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

/// Checks that a wait is reported before it ends.
pub(crate) fn check_itself() {
    let began = Instant::now();
    let second = Duration::from_secs(1);
    let mut seen = Seen::default();
    seen.asked_at[7] = Some(began);
    seen.asked_at[8] = Some(began + second);
    assert_eq!(
        seen.take(began + 3 * second).worst,
        3 * second,
        "of the one who has waited longest"
    );
    assert_eq!(
        seen.take(began + 4 * second).worst,
        4 * second,
        "and goes on to wait"
    );
    seen.note(7, 4 * second, None);
    let suffered = seen.take(began + 4 * second);
    assert_eq!((suffered.worst, suffered.answers), (4 * second, 1));
    assert_eq!(
        seen.take(began + 5 * second).worst,
        4 * second,
        "of the one who waits alone"
    );
}
