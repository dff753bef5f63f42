//! The text formats of metrics: OpenMetrics by `prometheus-client`, and the older text format from it.

use std::fmt::{Display, Error, Write as _};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// A text format, as a scraper asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text format 0.0.4; what everything reads.
    Classic,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// By the request's `accept`; `None` or anything unknown gets the older one.
    pub(crate) fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Classic,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The whole page.
pub(crate) fn page(collector: impl Collector, format: Format) -> Result<String, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    match format {
        Format::OpenMetrics => Ok(page),
        Format::Classic => classic(&page),
    }
}

/// The older format names a counter in its header as in its samples, knows no `info` and no end mark.
fn classic(page: &str) -> Result<String, Error> {
    let mut families = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut family = None;
    let mut older = String::with_capacity(page.len());
    for line in page.lines() {
        // HELP comes first in every family, then TYPE.
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = families.next();
            let (name, text) = help.split_once(' ').ok_or(Error)?;
            writeln!(older, "# HELP {name}{} {text}", suffix(family))?;
        } else if line.starts_with("# TYPE ") {
            let (name, kind) = family.ok_or(Error)?;
            let older_kind = if kind == "info" { "gauge" } else { kind };
            writeln!(older, "# TYPE {name}{} {older_kind}", suffix(family))?;
        } else if !line.starts_with("# ") {
            writeln!(older, "{line}")?;
        }
    }
    Ok(older)
}

fn suffix(family: Option<(&str, &str)>) -> &'static str {
    match family {
        Some((_, "counter")) => "_total",
        Some((_, "info")) => "_info",
        _ => "",
    }
}

/// Labels of one sample. Values come from the configuration or from closed sets, never from a peer.
pub(crate) type Labels = Vec<(&'static str, String)>;

pub(crate) fn labels<const N: usize>(labels: [(&'static str, &dyn Display); N]) -> Labels {
    labels.map(|(key, value)| (key, value.to_string())).into()
}

/// A sample without labels, if there is one.
pub(crate) fn unlabelled<N>(number: impl Into<Option<N>>) -> Option<(Labels, N)> {
    number.into().map(|number| (Labels::new(), number))
}

/// A thing with a name in the configuration, which its samples have as a label.
pub(crate) trait Named {
    const KEY: &'static str;

    fn name(&self) -> &Arc<str>;
}

/// One sample for each of them that has the value.
pub(crate) fn values<'a, T: Named, N>(
    all: &'a [T],
    value: impl Fn(&'a T) -> Option<N> + 'a,
) -> impl Iterator<Item = (Labels, N)> {
    all.iter()
        .filter_map(move |one| Some((labels([(T::KEY, one.name())]), value(one)?)))
}

/// A sample of 1 for each of them that has the value, which is a further label under `key`.
pub(crate) fn labelled<'a, T: Named, V: Display>(
    all: &'a [T],
    key: &'static str,
    value: impl Fn(&'a T) -> Option<V> + 'a,
) -> impl Iterator<Item = (Labels, u64)> {
    all.iter()
        .filter_map(move |one| Some((labels([(T::KEY, one.name()), (key, &value(one)?)]), 1)))
}

/// Writes families one after another. Names are without the suffixes `_total` and `_info`.
pub(crate) struct Families<'a>(pub(crate) DescriptorEncoder<'a>);

impl Families<'_> {
    pub(crate) fn counter<N: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, N)>,
    ) -> Result<(), Error> {
        self.family(MetricType::Counter, name, help, samples, |sample, count| {
            sample.encode_counter::<NoLabelSet, _, u64>(&count, None)
        })
    }

    pub(crate) fn gauge<N: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, N)>,
    ) -> Result<(), Error> {
        self.family(MetricType::Gauge, name, help, samples, |sample, number| {
            sample.encode_gauge(&number)
        })
    }

    /// The samples are their labels; the value is 1.
    pub(crate) fn info(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        samples
            .into_iter()
            .try_for_each(|(labels, _)| family.encode_info(&labels))
    }

    /// Buckets are pairs of upper bound in seconds and count in that bucket alone; the last bound is infinite.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, Distribution)>,
    ) -> Result<(), Error> {
        self.family(
            MetricType::Histogram,
            name,
            help,
            samples,
            |sample, Distribution { sum, buckets }| {
                let count = buckets.iter().map(|(_, count)| count).sum();
                sample.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
            },
        )
    }

    fn family<Value>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, Value)>,
        encode: impl Fn(&mut MetricEncoder<'_>, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        samples
            .into_iter()
            // An empty set would be written as `{}`.
            .try_for_each(|(labels, value)| match labels.is_empty() {
                true => encode(&mut family, value),
                false => encode(&mut family.encode_family(&labels)?, value),
            })
    }
}

/// One sample of a histogram.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) sum: f64,
    pub(crate) buckets: Vec<(f64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Sample;

    impl Collector for Sample {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
            let mut families = Families(encoder);
            families.counter(
                "rpcs",
                "RPCs that ended",
                [(labels([("route", &"a\"b\\c\nd")]), 3_u64)],
            )?;
            families.counter("never", "Nothing of it yet", None::<(Labels, u64)>)?;
            families.gauge("held_bytes", "Bytes", unlabelled(7_u64))?;
            families.info("build", "What runs", [(labels([("version", &"1.2")]), 1)])?;
            let distribution = Distribution {
                sum: 0.5,
                buckets: vec![(0.0001, 1), (1.0, 2), (f64::INFINITY, 1)],
            };
            families.histogram(
                "took_seconds",
                "Time",
                [(labels([("route", &"r")]), distribution)],
            )
        }
    }

    #[test]
    fn openmetrics_is_what_the_library_writes() {
        let page = page(Sample, Format::OpenMetrics).unwrap();
        assert!(
            page.contains("# TYPE rpcs counter\nrpcs_total{route=\"a\\\"b\\\\c\\nd\"} 3\n"),
            "{page}"
        );
        assert!(page.ends_with("# EOF\n"), "{page}");
    }

    #[test]
    fn classic_names_families_as_their_samples() {
        let expected = r#"# HELP rpcs_total RPCs that ended
# TYPE rpcs_total counter
rpcs_total{route="a\"b\\c\nd"} 3
# HELP never_total Nothing of it yet
# TYPE never_total counter
# HELP held_bytes Bytes
# TYPE held_bytes gauge
held_bytes 7
# HELP build_info What runs
# TYPE build_info gauge
build_info{version="1.2"} 1
# HELP took_seconds Time
# TYPE took_seconds histogram
took_seconds_sum{route="r"} 0.5
took_seconds_count{route="r"} 4
took_seconds_bucket{le="0.0001",route="r"} 1
took_seconds_bucket{le="1.0",route="r"} 3
took_seconds_bucket{le="+Inf",route="r"} 4
"#;
        assert_eq!(page(Sample, Format::Classic).unwrap(), expected);
    }

    #[test]
    fn a_scraper_gets_the_format_that_it_asks_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::accepted(Some("*/*")), Format::Classic);
        assert_eq!(Format::accepted(None), Format::Classic);
    }
}
