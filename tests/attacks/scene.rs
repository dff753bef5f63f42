//! The scene of an attack: a gateway of one worker, backends, quiet clients, and the attacker's process.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::{
    BackendOptions, H2Client, Metrics, TestBackend, TestCa, TestGateway, TlsOptions, echo_body, free_port,
    proof, request, within,
};
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::attack::{Attack, Backend, STREAMS};
use crate::attacker::{self, Orders, Tally};
use crate::backend::Victim;
use crate::evidence::{Evidence, Seen};
use crate::process::{Usage, gateway_words, move_thread, places};
use crate::quiet::{self, Quiet};
use crate::verdict::{self, PROCESS_MEMORY};

/// After an attack: what it left to do is its, too.
const AFTERMATH: Duration = Duration::from_millis(300);
/// The request before the attack.
const WARM: &str = "/t.T/Warm";
/// Extra time of an attacker until it is ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything but the attacker.
pub(crate) struct Scene {
    ca: TestCa,
    gateway: TestGateway,
    quiet: Quiet,
    clocks: [Clock; 2],
    http1: SocketAddr,
    hostile: u16,
    _quiet_backend: TestBackend,
    _victim: Option<Victim>,
    _full: Option<TestBackend>,
}

impl Scene {
    /// Plays one attack from the beginning to the end.
    pub(crate) fn play(attack: &Attack) -> Evidence {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let evidence = runtime.block_on(async {
            let mut scene = Self::set(attack).await;
            let evidence = scene.attacked(attack).await;
            // Its end is no part of this.
            scene.gateway.kill();
            evidence
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        evidence
    }

    async fn set(attack: &Attack) -> Self {
        let ca = TestCa::new();
        let quiet_backend = TestBackend::h2(echo_body).await;
        let (hostile, http1) = (free_port(), SocketAddr::from(([127, 0, 0, 1], free_port())));
        let (mut victim, mut full) = (None, None);
        let attacked = match attack.backend {
            Backend::Answers | Backend::Mute | Backend::Shut | Backend::Deaf | Backend::Large => {
                let started = Victim::start(attack.backend);
                let address = started.address();
                victim = Some(started);
                address
            }
            Backend::Full => full.insert(full_backend().await).address(),
            Backend::Hostile => ([127, 0, 0, 1], hostile).into(),
        };
        let quiet_to = if full.is_some() { "attacked" } else { "quiet" };
        let builder = TestGateway::builder(&ca, &quiet_backend)
            .set("/workers", 1)
            .add(
                "/listeners",
                json!({ "name": "plain", "address": http1.to_string(), "http": { "redirect": "https" } }),
            )
            .set("/limits", json!({ "process_memory": PROCESS_MEMORY.to_string() }))
            .set(
                "/backends",
                json!([
                    { "name": "quiet", "endpoints": [quiet_backend.address().to_string()] },
                    { "name": "attacked", "endpoints": [attacked.to_string()] },
                ]),
            )
            .set(
                "/routes",
                json!([
                    { "name": "quiet", "match": { "host": "localhost", "service": "quiet.Echo" }, "backend": quiet_to },
                    { "name": "attacked", "match": { "host": "localhost" }, "backend": "attacked" },
                ]),
            )
            .under(&gateway_words());
        let gateway = (attack.gateway)(builder).start().await;
        if attack.backend != Backend::Hostile {
            let client = H2Client::tls(&gateway, &ca).await;
            let asked = client.ask(request(WARM).body(()).unwrap(), Bytes::new());
            within("the attacked backend answers once", Duration::from_secs(5), asked)
                .await
                .unwrap();
        }
        let quiet = Quiet::start(&gateway, &ca).await;
        Self {
            ca,
            gateway,
            quiet,
            clocks: [Clock::start(), Clock::start_beside_gateway()],
            http1,
            hostile,
            _quiet_backend: quiet_backend,
            _victim: victim,
            _full: full,
        }
    }

    async fn attacked(&mut self, attack: &Attack) -> Evidence {
        let calm = Duration::from_secs_f32(if proof() { 2.0 } else { 0.3 });
        let ((), calm) = self.watched(tokio::time::sleep(calm)).await;
        let memory_before = self.gateway.memory();
        let attacking = async {
            let tally = self.attack(attack).await;
            tokio::time::sleep(AFTERMATH).await;
            tally
        };
        let (tally, attacked) = self.watched(attacking).await;
        let newcomer = self.newcomer().await;
        Evidence {
            calm,
            attacked,
            memory_before,
            tally,
            metrics: self.metrics().await,
            log: self.gateway.log(),
            newcomer,
            alive: self.gateway.is_running(),
            repeated: false,
        }
    }

    /// Runs something, and sees what happens meanwhile.
    async fn watched<T>(&self, what: impl Future<Output = T>) -> (T, Seen) {
        let process = self.gateway.pid().to_string();
        let before = Usage::of(&process);
        self.quiet.take();
        self.late();
        let mut memory = 0;
        let watching = async {
            loop {
                memory = memory.max(resident(&process));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = what => outcome,
            () = watching => unreachable!("it watches for ever"),
        };
        let suffered = self.quiet.take();
        let after = Usage::of(&process);
        let seen = Seen {
            answers: suffered.answers,
            failures: suffered.failures,
            worst: suffered.worst,
            memory,
            gateway: Usage {
                cpu: after.cpu.saturating_sub(before.cpu),
                waited: after.waited.saturating_sub(before.waited),
            },
            late: self.late(),
        };
        (outcome, seen)
    }

    /// The longest delay of a clock since the last call.
    fn late(&self) -> Duration {
        let [here, there] = &self.clocks;
        here.take().max(there.take())
    }

    /// The attacker in its process, to its end.
    async fn attack(&self, attack: &Attack) -> Tally {
        let orders = Orders {
            attack: attack.name.to_owned(),
            address: self.gateway.address(),
            http1: self.http1,
            ca: self.ca.file(),
            hostile: self.hostile,
            lasts: attack.seconds.now(),
            persists: !attack.limits.is_empty(),
        };
        let child = Command::new(std::env::current_exe().unwrap())
            .args([attacker::COMMAND, &orders.text()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ended = timeout(orders.lasts + PATIENCE, child.wait_with_output()).await;
        let Ok(Ok(output)) = ended else {
            return Tally::trouble("it did not come to its end");
        };
        Tally::parse(&String::from_utf8_lossy(&output.stdout))
            .unwrap_or_else(|| Tally::trouble(&format!("{}", output.status)))
    }

    /// The metrics once the attacker's connections are gone; as they are, if some stay.
    async fn metrics(&self) -> Option<Metrics> {
        let give_up_at = Instant::now() + Duration::from_secs(3);
        loop {
            let (_, page) = self.gateway.get("/metrics").await?;
            let metrics = Metrics::parse(&page);
            if verdict::left_behind(&metrics) == 0 || Instant::now() > give_up_at {
                return Some(metrics);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Time for which a client that comes now waits for its first response.
    async fn newcomer(&self) -> Option<Duration> {
        let began = Instant::now();
        let coming = async {
            let shaken = TlsOptions::default()
                .connect(self.gateway.address(), &self.ca)
                .await;
            let client = H2Client::try_over(shaken.ok()?.0).await.ok()?;
            quiet::ask(&client).await.ok()
        };
        timeout(Duration::from_secs(10), coming).await.ok()??;
        Some(began.elapsed())
    }
}

/// Few streams, all of which an attacker may take and keep.
async fn full_backend() -> TestBackend {
    let options = BackendOptions {
        max_concurrent_streams: Some(STREAMS),
        ..BackendOptions::default()
    };
    TestBackend::h2_with(options, |mut exchange| async move {
        if exchange.path().starts_with("/quiet.") || exchange.path() == WARM {
            return echo_body(exchange).await;
        }
        exchange.reset_by_peer().await;
    })
    .await
}

/// Resident memory in octets; 0 once the process has ended.
fn resident(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// A thread that sleeps a millisecond again and again, and notes how late it wakes up: what the machine does to
/// everybody, whatever the gateway does.
struct Clock {
    late: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Clock {
    /// Among the quiet clients.
    fn start() -> Self {
        Self::start_where(None)
    }

    /// On the gateway's CPU, which it shares with equal rights: it is late there only if somebody else is in the way.
    fn start_beside_gateway() -> Self {
        Self::start_where(places().map(|(gateway, _)| gateway.as_str()))
    }

    fn start_where(cpu: Option<&'static str>) -> Self {
        const PAUSE: Duration = Duration::from_millis(1);
        let clock = Self {
            late: Arc::default(),
            stopped: Arc::default(),
        };
        let (late, stopped) = (Arc::clone(&clock.late), Arc::clone(&clock.stopped));
        std::thread::spawn(move || {
            if let Some(cpu) = cpu {
                move_thread(cpu);
            }
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(PAUSE);
                let over = began.elapsed().saturating_sub(PAUSE);
                late.fetch_max(over.as_micros() as u64, Ordering::Relaxed);
            }
        });
        clock
    }

    /// The worst since this was last asked.
    fn take(&self) -> Duration {
        Duration::from_micros(self.late.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}
