//! What this process says through the `metrics` facade, kept to be looked at.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

/// All numbers of the process. Tests tell theirs apart by their group.
#[derive(Default)]
pub(crate) struct Numbers {
    described: Mutex<BTreeMap<String, String>>,
    counters: Mutex<BTreeMap<Key, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<Key, Arc<AtomicU64>>>,
    histograms: Mutex<BTreeMap<Key, Arc<Samples>>>,
}

/// One number: of a histogram, how many samples it has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

#[derive(Default)]
struct Samples(Mutex<Vec<f64>>);

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().push(value);
    }
}

/// The recorder of this process, from now on at the latest.
pub(crate) fn numbers() -> &'static Numbers {
    static NUMBERS: LazyLock<Numbers> = LazyLock::new(Numbers::default);
    static INSTALLED: LazyLock<()> = LazyLock::new(|| {
        metrics::set_global_recorder(Installed).unwrap_or_else(|e| panic!("somebody else records metrics: {e}"));
    });
    LazyLock::force(&INSTALLED);
    return &NUMBERS;

    struct Installed;

    impl Recorder for Installed {
        fn describe_counter(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
            NUMBERS.described.lock().insert(name.as_str().to_owned(), text.to_string());
        }

        fn describe_gauge(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
            NUMBERS.described.lock().insert(name.as_str().to_owned(), text.to_string());
        }

        fn describe_histogram(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
            NUMBERS.described.lock().insert(name.as_str().to_owned(), text.to_string());
        }

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(NUMBERS.counters.lock().entry(key.clone()).or_default().clone())
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(NUMBERS.gauges.lock().entry(key.clone()).or_default().clone())
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(NUMBERS.histograms.lock().entry(key.clone()).or_default().clone())
        }
    }
}

impl Numbers {
    /// The names that were described, with their texts.
    pub(crate) fn described(&self) -> BTreeMap<String, String> {
        self.described.lock().clone()
    }

    /// All series of a group.
    pub(crate) fn of(&self, group: &str) -> Vec<Series> {
        let counters = self.counters.lock();
        let counters = counters.iter().map(|(key, count)| series(key, count.load(SeqCst) as f64));
        let gauges = self.gauges.lock();
        let gauges = gauges.iter().map(|(key, bits)| series(key, f64::from_bits(bits.load(SeqCst))));
        let histograms = self.histograms.lock();
        let histograms = histograms.iter().map(|(key, samples)| series(key, samples.0.lock().len() as f64));
        let all = counters.chain(gauges).chain(histograms);
        all.filter(|series| series.labels.get("group").is_some_and(|of| of == group)).collect()
    }

    /// The sum of a group's series with this name and this label. Without any, there is no such number.
    pub(crate) fn sum(&self, group: &str, name: &str, label: Option<(&str, &str)>) -> Option<f64> {
        let is = |series: &Series| {
            let labelled = label.is_none_or(|(key, value)| series.labels.get(key).is_some_and(|is| is == value));
            series.name == name && labelled
        };
        self.of(group).into_iter().filter(is).map(|series| series.value).reduce(|sum, value| sum + value)
    }

    /// The names of a group's gauges that are not zero.
    pub(crate) fn gauges_above_zero(&self, group: &str) -> Vec<String> {
        let gauges = self.gauges.lock();
        let of_group = |key: &Key| key.labels().any(|label| (label.key(), label.value()) == ("group", group));
        let is_set = |bits: &AtomicU64| f64::from_bits(bits.load(SeqCst)) != 0.0;
        let set = gauges.iter().filter(|(key, bits)| of_group(key) && is_set(bits));
        set.map(|(key, _)| key.name().to_owned()).collect()
    }

    /// The samples of a group's histogram.
    pub(crate) fn samples(&self, group: &str, name: &str) -> Vec<f64> {
        let histograms = self.histograms.lock();
        let of_group = |key: &Key| key.labels().any(|label| (label.key(), label.value()) == ("group", group));
        let found = histograms.iter().filter(|(key, _)| key.name() == name && of_group(key));
        found.flat_map(|(_, samples)| samples.0.lock().clone()).collect()
    }
}

fn series(key: &Key, value: f64) -> Series {
    let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
    Series { name: key.name().to_owned(), labels, value }
}
