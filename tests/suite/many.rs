//! Many certificates: a start, a rotation, a reload and a restart with a thousand of them fit into a small container,
//! in few threads, and so does a restart with hundreds that were ordered.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::{
    KeyKind, Leaf, MemoryGroup, Pair, PairFiles, TestBackend, TestCa, TestGateway, TlsOptions, alone,
    eventually, proof, scaled, within,
};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
/// The memory of the container.
const PEAK: u64 = 256 * MIB;
const AT_REST: u64 = 150_000_000;
const THREADS: u64 = 40;
/// Octets of the page of metrics for each certificate.
const PAGE: usize = 950;
/// On two cores, of the product's profile.
const START: Duration = Duration::from_secs(5);
/// Whatever the profile.
const LONG: Duration = Duration::from_secs(60);
/// Nobody listens there.
const DIRECTORY: &str = "https://127.0.0.1:9/directory";

/// A gateway with so many certificates, and what it takes.
struct Scene {
    ca: TestCa,
    gateway: TestGateway,
    count: usize,
    /// Pairs that nobody has seen yet.
    next: Vec<Pair>,
    _group: Option<MemoryGroup>,
}

fn name(number: usize) -> String {
    format!("customer-{number:04}")
}

fn host(number: usize) -> String {
    format!("{}.example.com", name(number))
}

/// One in twenty has an RSA key.
fn pairs(ca: &TestCa, count: usize) -> Vec<Pair> {
    let leaf = |number| {
        let leaf = Leaf::named(&[&host(number), &format!("www.{}", host(number))]);
        if number % 20 == 0 {
            leaf.key(KeyKind::Rsa2048)
        } else {
            leaf
        }
    };
    (0..count).map(|number| ca.issue(&leaf(number))).collect()
}

fn files(folder: &Path, number: usize, pair: &Pair) -> PairFiles {
    PairFiles::plain(&folder.join(name(number)), pair)
}

impl Scene {
    async fn start(count: usize) -> Self {
        let ca = TestCa::with_intermediate();
        let backend = TestBackend::guide("one").await;
        let group = MemoryGroup::new(PEAK);
        if group.is_none() {
            eprintln!("no control group can be made here: the peak of its resident memory stands for it");
        }
        let mut builder = TestGateway::builder(&ca, &backend).without_main();
        for (number, pair) in pairs(&ca, count).iter().enumerate() {
            let files = files(builder.folder(), number, pair);
            builder = builder.source(
                json!({ "name": name(number), "files": { "chain": files.chain(), "key": files.key() } }),
            );
        }
        if let Some(group) = &group {
            let command = group.command();
            builder = builder.under(&command.each_ref().map(String::as_str));
        }
        let next = pairs(&ca, count);
        let began = Instant::now();
        let gateway = builder.start().await;
        let scene = Self {
            ca,
            gateway,
            count,
            next,
            _group: group,
        };
        scene.has_started("a start", began).await;
        scene
    }

    /// It is ready: all of them serve, and it was quick.
    async fn has_started(&self, what: &str, began: Instant) {
        let took = began.elapsed();
        eprintln!(
            "{} certificates, {what}: ready in {:.2} s",
            self.count,
            took.as_secs_f64()
        );
        assert!(took < START || !proof(), "{took:?}");
        assert_eq!(self.series("h2gate_certificate_serving", "} 1").await, self.count);
        self.is_small(what);
    }

    /// Asserts that the peak of memory and the number of threads are within their bounds.
    fn is_small(&self, what: &str) {
        let (peak, threads) = (self.gateway.peak_memory(), self.gateway.threads());
        eprintln!(
            "{} certificates, {what}: peak {} MiB, {threads} threads",
            self.count,
            peak / MIB
        );
        assert!(peak < PEAK, "{} MiB", peak / MIB);
        assert!(threads < THREADS, "{threads} threads");
    }

    /// Nothing happens, which costs nothing.
    async fn rests(&self) {
        let before = self.gateway.cpu();
        let time = Duration::from_secs(scaled(5, 60) as u64);
        tokio::time::sleep(time).await;
        let share = (self.gateway.cpu() - before).as_secs_f64() / time.as_secs_f64();
        let memory = self.gateway.memory();
        let page = self.gateway.metrics().await.page().len();
        eprintln!(
            "{} certificates at rest: {} MB, {:.2} % of a core, {page} bytes of metrics",
            self.count,
            memory / 1_000_000,
            100.0 * share
        );
        assert!(memory < AT_REST, "{memory} bytes");
        assert!(share < 0.02 || !proof(), "{share}");
        let of_others = 40_000;
        assert!(page < PAGE * self.count + of_others, "{page} bytes");
        self.is_small("at rest");
    }

    /// Every pair is replaced, and each is shown.
    async fn rotates(&self) {
        let began = Instant::now();
        for (number, pair) in self.next.iter().enumerate() {
            files_of(&self.gateway, number).rename(pair);
        }
        let all = eventually("all new pairs serve", LONG, async || {
            let metrics = self.gateway.metrics().await;
            let of_install = metrics
                .page()
                .lines()
                .filter(|line| line.starts_with("h2gate_certificate_install{"));
            let new = of_install.filter(|line| install(line) > self.count as u64);
            (new.count() == self.count).then_some(())
        });
        all.await;
        eprintln!(
            "{} certificates, all replaced: {:.2} s",
            self.count,
            began.elapsed().as_secs_f64()
        );
        let last = self.count - 1;
        let shown = TlsOptions::name(&host(last))
            .connect(self.gateway.address(), &self.ca)
            .await;
        assert_eq!(shown.unwrap().serial(), self.next[last].serial);
        self.is_small("all replaced");
    }

    /// Every certificate is configured otherwise.
    async fn reloads(&mut self) {
        for number in 0..self.count {
            self.gateway
                .set(&format!("/certificates/{number}/allow_rollback"), true);
        }
        self.gateway.write_config(&self.gateway.config_text());
        self.gateway.hang_up();
        self.gateway.logs(&["reload applied"]).await;
        eventually("all are read again", LONG, async || {
            let read = self
                .series("h2gate_certificate_last_success_timestamp_seconds", "")
                .await;
            (read == self.count).then_some(())
        })
        .await;
        self.is_small("a reload");
    }

    /// The same directory, and another process.
    async fn starts_again(&mut self, what: &str) {
        self.gateway.terminate();
        self.gateway.exit(LONG).await;
        let began = Instant::now();
        self.gateway.start_again().await;
        self.has_started(what, began).await;
    }

    /// From now on they are ordered, and the first so many are what is kept.
    fn are_ordered(&mut self, count: usize) {
        self.count = count;
        let mut certificates = Vec::new();
        for number in 0..count {
            let (name, domains) = (name(number), [host(number)]);
            let path = self
                .gateway
                .folder()
                .join(format!("state/certificates/{name}.json"));
            let mut kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            for version in kept["versions"].as_array_mut().unwrap() {
                version["source"] = json!("acme");
                version["ca"] = json!(DIRECTORY);
            }
            std::fs::write(&path, kept.to_string()).unwrap();
            let key = if number % 20 == 0 {
                "rsa-2048"
            } else {
                "ecdsa-p256"
            };
            let acme = json!({
                "directory": DIRECTORY,
                "contact": "ops@example.com",
                "accept_terms": true,
                "challenge": "tls-alpn-01",
                "key": key,
            });
            certificates.push(json!({ "name": name, "domains": domains, "acme": acme }));
        }
        let names: Vec<_> = (0..count).map(name).collect();
        self.gateway.set("/listeners/0/tls/certificates", names);
        self.gateway.set("/certificates", certificates);
        self.gateway.write_config(&self.gateway.config_text());
    }

    /// Number of series of this name that end like this.
    async fn series(&self, name: &str, end: &str) -> usize {
        let metrics = self.gateway.metrics().await;
        let start = format!("{name}{{");
        let lines = metrics.page().lines();
        lines
            .filter(|line| line.starts_with(&start) && line.ends_with(end))
            .count()
    }
}

fn files_of(gateway: &TestGateway, number: usize) -> PairFiles {
    PairFiles::at(&gateway.folder().join(name(number)))
}

fn install(line: &str) -> u64 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn fit(count: usize) {
    let mut scene = Scene::start(count).await;
    scene.rests().await;
    scene.rotates().await;
    scene.reloads().await;
    scene.starts_again("a restart").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_certificates_from_files_fit_into_a_small_container() {
    let _alone = alone().await;
    let counts: &[usize] = if proof() { &[1, 100, 1_000] } else { &[100] };
    for &count in counts {
        fit(count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_hundreds_of_ordered_certificates_fits_into_a_small_container() {
    let _alone = alone().await;
    let count = scaled(50, 300);
    let mut scene = Scene::start(count).await;
    scene.are_ordered(count);
    scene.starts_again("a restart of ordered ones").await;
    // Each has asked its CA when to renew.
    within(
        "the CA is found to be away",
        LONG,
        scene.gateway.logs(&["gives no advice"]),
    )
    .await;
    scene.rests().await;
}
