//! S3 and Secrets Manager fail in every way that a network knows: nothing changes, nobody is asked too often, and the
//! next good answer is taken.

use std::time::{Duration, Instant};

use e2e::{
    Fault, FaultProxy, Leaf, Load, Pair, TestBackend, TestCa, TestGateway, TestMoto, TlsOptions, busy,
    eventually, run_tool, scaled,
};
use futures_util::future::join_all;
use serde_json::json;

const POLL: Duration = Duration::from_secs(5);

/// The poll, its jitter, the reading; and the pace that a reader keeps after retries.
const ONE_POLL: Duration = Duration::from_secs(5 + 7);

/// Requests that a reading may send at once, retries among them.
const BURST: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    S3,
    SecretsManager,
}

/// One way to fail, with a certificate and a proxy of its own.
struct Patient {
    service: Service,
    fault: Illness,
    proxy: FaultProxy,
    /// Bucket or secret.
    place: String,
    name: String,
    first: Pair,
}

/// The name of an illness, and the proxy's fault; without one it is the double that fails.
type Illness = (&'static str, Option<Fault>);

fn faults() -> Vec<Illness> {
    let denied = br#"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"#.to_vec();
    vec![
        ("unavailable", Some(Fault::status(503))),
        ("hang", Some(Fault::Hold)),
        ("reset", Some(Fault::Reset)),
        ("truncated", Some(Fault::Truncate)),
        ("corrupt", Some(Fault::Corrupt)),
        ("slow", Some(Fault::Slow(Duration::from_millis(40)))),
        ("denied", Some(Fault::Status(403, Vec::new(), denied))),
        ("gone", None),
    ]
}

impl Patient {
    async fn new(moto: &TestMoto, ca: &TestCa, service: Service, fault: Illness) -> Self {
        let kind = match service {
            Service::S3 => "s3",
            Service::SecretsManager => "secret",
        };
        let name = format!("{}.{kind}.test", fault.0);
        let first = ca.issue(&Leaf::named(&[&name]));
        let place = match service {
            Service::S3 => moto.bucket_named(fault.0).await,
            Service::SecretsManager => moto.name(fault.0),
        };
        let patient = Self {
            service,
            fault,
            proxy: FaultProxy::before(moto.address()).await,
            place,
            name,
            first,
        };
        patient.put(moto, &patient.first).await;
        patient
    }

    async fn put(&self, moto: &TestMoto, pair: &Pair) {
        match self.service {
            Service::S3 => moto.put_pair(&self.place, pair).await,
            Service::SecretsManager => moto.put_pair_secret(&self.place, pair).await,
        }
    }

    fn certificate(&self, moto: &TestMoto) -> serde_json::Value {
        let endpoint = format!("http://{}", self.proxy.address());
        let source = match self.service {
            Service::S3 => json!({ "s3": {
                "bucket": self.place, "chain": "chain.pem", "key": "key.pem", "path_style": true,
                "region": moto.region(), "endpoint": endpoint, "poll": "5s",
            }}),
            Service::SecretsManager => json!({ "secrets_manager": {
                "secret": self.place, "region": moto.region(), "endpoint": endpoint, "poll": "5s",
            }}),
        };
        let mut certificate = json!({ "name": self.name });
        certificate
            .as_object_mut()
            .unwrap()
            .extend(source.as_object().unwrap().clone());
        certificate
    }

    async fn fall_ill(&self, moto: &TestMoto) {
        match (&self.fault.1, self.service) {
            (Some(fault), _) => self.proxy.spoil("", fault.clone()),
            (None, Service::S3) => {
                moto.delete(&self.place, "chain.pem").await;
                moto.delete(&self.place, "key.pem").await;
            }
            (None, Service::SecretsManager) => moto.delete_secret(&self.place).await,
        }
    }

    /// The serial number that clients see.
    async fn serial(&self, ca: &TestCa, gateway: &TestGateway) -> u64 {
        let shown = TlsOptions::name(&self.name).connect(gateway.address(), ca).await;
        shown
            .unwrap_or_else(|refusal| panic!("{}: {refusal:?}", self.name))
            .serial()
    }

    async fn is_alarmed(&self, gateway: &TestGateway) -> bool {
        let labels = [("certificate", self.name.as_str())];
        gateway.metrics().await.sum("h2gate_certificate_refused", &labels) == 1.0
    }

    /// Observes the certificate for some polls.
    async fn observe(&self, ca: &TestCa, gateway: &TestGateway) -> Observed {
        let (began, before) = (Instant::now(), self.proxy.count(""));
        let long = POLL * u32::try_from(scaled(3, 12)).unwrap();
        let mut observed = Observed::default();
        while began.elapsed() < long {
            observed.changed |= self.serial(ca, gateway).await != self.first.serial;
            observed.alarmed |= self.is_alarmed(gateway).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        observed.asked = self.proxy.count("") - before;
        observed.hammered = is_hammered(observed.asked, began.elapsed());
        observed
    }

    /// It is ill, it serves what it did, and it is asked in measure. Then it is well, and the next pair serves.
    async fn recovers(&self, moto: &TestMoto, ca: &TestCa, gateway: &TestGateway) {
        self.fall_ill(moto).await;
        if self.fault.1.is_some() {
            // An unchanged object is answered with 304, which has no body to spoil: a newer one has.
            self.put(moto, &ca.issue(&Leaf::named(&[&self.name]))).await;
        }
        let observed = self.observe(ca, gateway).await;
        // A reading that hangs or crawls is given up after half a minute.
        let patient = ["hang", "slow"].contains(&self.fault.0);
        assert!(
            !observed.changed && !observed.hammered && observed.asked > 0 && (observed.alarmed || patient),
            "{}: {observed:?}",
            self.name
        );

        self.proxy.heal();
        let next = ca.issue(&Leaf::named(&[&self.name]));
        self.put(moto, &next).await;
        eventually(
            format!("{}: the next pair serves", self.name),
            ONE_POLL,
            async || (self.serial(ca, gateway).await == next.serial).then_some(()),
        )
        .await;
        eventually(format!("{}: the alarm ends", self.name), ONE_POLL, async || {
            (!self.is_alarmed(gateway).await).then_some(())
        })
        .await;
    }
}

/// The observations of a certificate whose source fails.
#[derive(Debug, Default)]
struct Observed {
    /// Another one was served.
    changed: bool,
    alarmed: bool,
    /// Requests for it.
    asked: usize,
    /// They were more than one a second, and a reading's retries.
    hammered: bool,
}

fn is_hammered(asked: usize, within: Duration) -> bool {
    asked > usize::try_from(within.as_secs()).unwrap() + BURST
}

async fn patients(moto: &TestMoto, ca: &TestCa, faults: &[Illness]) -> Vec<Patient> {
    let mut patients = Vec::new();
    for service in [Service::S3, Service::SecretsManager] {
        for fault in faults {
            patients.push(Patient::new(moto, ca, service, fault.clone()).await);
        }
    }
    patients
}

/// A gateway with the certificates of all of them, each served.
async fn serving(moto: &TestMoto, ca: &TestCa, backend: &TestBackend, patients: &[Patient]) -> TestGateway {
    let mut builder = TestGateway::builder(ca, backend).aws(moto);
    for patient in patients {
        builder = builder.source(patient.certificate(moto));
    }
    let gateway = builder.start().await;
    for patient in patients {
        let shown = gateway.shows(ca, &patient.name, ONE_POLL).await;
        assert_eq!(shown.serial(), patient.first.serial);
    }
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_changes_nothing_and_is_not_hammered() {
    let _busy = busy().await;
    let moto = TestMoto::start().await;
    let (ca, backend) = (TestCa::new(), TestBackend::guide("one").await);
    let patients = patients(&moto, &ca, &faults()).await;
    let gateway = serving(&moto, &ca, &backend, &patients).await;
    let load = Load::start(gateway.address(), &ca, TlsOptions::default()).await;
    let recovering = patients
        .iter()
        .map(|patient| patient.recovers(&moto, &ca, &gateway));
    join_all(recovering).await;
    load.unharmed().await;
    eprintln!("{} sources failed, and nothing changed", patients.len());
}

/// The control: where nothing is spoiled, the same looks see another certificate and no alarm; and a client that asks
/// without a pause is seen to.
#[tokio::test]
async fn a_source_that_is_well_is_seen_to_change() {
    let moto = TestMoto::start().await;
    let (ca, backend) = (TestCa::new(), TestBackend::guide("one").await);
    let patients = patients(&moto, &ca, &[("well", None)]).await;
    let gateway = serving(&moto, &ca, &backend, &patients).await;
    let observing = patients.iter().map(|patient| async {
        patient
            .put(&moto, &ca.issue(&Leaf::named(&[&patient.name])))
            .await;
        patient.observe(&ca, &gateway).await
    });
    for observed in join_all(observing).await {
        assert!(
            observed.changed && !observed.alarmed && !observed.hammered,
            "{observed:?}"
        );
    }

    let (proxy, began) = (&patients[0].proxy, Instant::now());
    let before = proxy.count("");
    let url = format!("http://{}/", proxy.address());
    for _ in 0..3 * BURST {
        run_tool("curl", &["--silent", "--max-time", "5", &url]).await;
    }
    assert!(
        is_hammered(proxy.count("") - before, began.elapsed()),
        "{:?}",
        began.elapsed()
    );
}
