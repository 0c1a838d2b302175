//! The main job on real input: 3,375 flights travel as typed events through a real Kafka, to a group of two, and every
//! one of them is accounted for.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use kafka_client::{Delivered, Error, Json, Optional, Received, Topic, Utf8};
use serde::{Deserialize, Serialize};
use tests::harness::oracle::{self, Isolation};
use tests::harness::{Cluster, eventually, unique};

use crate::given;
use crate::group::{Account, Member, SOON, Taken, committed_of, quick};

/// New York, 7 to 10 February 2013: a blizzard.
const FLIGHTS: &str = include_str!("../../examples/data/flights.csv");
const COUNT: usize = 3_375;
const CANCELLED: usize = 895;
const WITHOUT_TAIL_NUMBER: usize = 337;
const PARTITIONS: i32 = 4;

/// One line of the file; what is empty there is absent here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Flight {
    time_hour: String,
    carrier: String,
    flight: u16,
    tailnum: Option<String>,
    origin: String,
    dest: String,
    sched_dep_time: u16,
    dep_time: Option<u16>,
    dep_delay: Option<i16>,
    sched_arr_time: u16,
    arr_time: Option<u16>,
    arr_delay: Option<i16>,
    air_time: Option<u16>,
    distance: u16,
}

impl Flight {
    /// No field of the file is quoted, so commas are all that separates them.
    fn of(line: &str) -> Self {
        let fields: Vec<&str> = line.split(',').collect();
        let &[time_hour, carrier, flight, tailnum, origin, dest, ref numbers @ ..] = fields.as_slice() else {
            panic!("{line}")
        };
        let &[sched_dep_time, dep_time, dep_delay, sched_arr_time, arr_time, arr_delay, air_time, distance] = numbers
        else {
            panic!("{line}")
        };
        Self {
            time_hour: time_hour.to_owned(),
            carrier: carrier.to_owned(),
            flight: flight.parse().unwrap(),
            tailnum: Some(tailnum.to_owned()).filter(|tailnum| !tailnum.is_empty()),
            origin: origin.to_owned(),
            dest: dest.to_owned(),
            sched_dep_time: sched_dep_time.parse().unwrap(),
            dep_time: dep_time.parse().ok(),
            dep_delay: dep_delay.parse().ok(),
            sched_arr_time: sched_arr_time.parse().unwrap(),
            arr_time: arr_time.parse().ok(),
            arr_delay: arr_delay.parse().ok(),
            air_time: air_time.parse().ok(),
            distance: distance.parse().unwrap(),
        }
    }
}

type Key = Option<String>;

#[tokio::test]
async fn every_flight_is_accounted_for() {
    let flights: Vec<Flight> = FLIGHTS.lines().skip(1).map(Flight::of).collect();
    assert_eq!(flights.len(), COUNT);
    let (bootstrap, group) = (Cluster::shared().bootstrap(), unique("departures"));
    // The key is the aeroplane; where it is not known, the key is null.
    let topic = Topic::new(unique("flights"), Optional::new(Utf8), Json::<Flight>::new());
    oracle::create_topic(bootstrap, topic.name(), PARTITIONS, 1);

    let (account, handled) = (Account::default(), Taken::new());
    let start = |by| {
        let (account, handled) = (account.clone(), handled.clone());
        let handler = move |flight: Received<Key, Flight>| {
            account.add(by, flight.partition(), flight.offset());
            handled.push(((flight.partition(), flight.offset()), flight.into_parts()));
            async { Ok::<_, Error>(()) }
        };
        Member::start(quick(&given::kafka(), &group).route(&topic, handler))
    };
    let members = ['a', 'b'].map(start);

    // One at a time until both members have had one, then all the rest.
    let producer = given::built(given::kafka().producer());
    let mut rest = flights.iter();
    let mut delivered: Vec<Delivered> = Vec::new();
    eventually("both members handle flights", SOON, async || {
        let flight = rest.next().unwrap();
        delivered.push(producer.send(topic.record(&flight.tailnum, flight)).await.unwrap());
        account.of('a') > 0 && account.of('b') > 0
    })
    .await;
    let mut deliveries = Vec::new();
    for flight in rest {
        deliveries.push(producer.enqueue(topic.record(&flight.tailnum, flight)).await.unwrap());
    }
    delivered.extend(try_join_all(deliveries).await.unwrap());
    account.reaches(COUNT).await;
    for member in members {
        let report = member.stop().await;
        assert!(report.left_group && report.unfinished == 0 && report.failed == 0, "{report:?}");
    }

    // Delivered: each at a place of its own, which the answer names.
    let places: BTreeMap<_, _> =
        delivered.iter().zip(&flights).map(|(at, flight)| ((at.partition(), at.offset()), flight.clone())).collect();
    assert_eq!(places.len(), COUNT);
    // In the log, as others see it, bit for bit.
    let log = oracle::read_all(bootstrap, topic.name(), Isolation::ReadUncommitted);
    assert_eq!(log.len(), COUNT);
    for stored in &log {
        let flight = &places[&(stored.partition, stored.offset)];
        assert_eq!(stored.key.as_deref(), flight.tailnum.as_deref().map(str::as_bytes));
        assert_eq!(stored.value.as_deref(), Some(&serde_json::to_vec(flight).unwrap()[..]));
    }
    // Handled: each once, in the order of its partition, and equal to what was sent.
    assert_eq!(account.len(), COUNT);
    for (partition, end) in oracle::end_offsets(bootstrap, topic.name()) {
        assert_eq!(account.offsets(partition), (0..end).collect::<Vec<_>>(), "partition {partition}");
        assert_eq!(committed_of(&group, topic.name())[&partition], end);
    }
    let handled: BTreeMap<_, _> = handled.take().into_iter().collect();
    assert!(handled.values().all(|(key, flight)| *key == flight.tailnum));
    let values = |flight: (Key, Flight)| flight.1;
    let handled: BTreeMap<_, _> = handled.into_iter().map(|(place, flight)| (place, values(flight))).collect();
    assert_eq!(handled, places);
    // What the file says of itself.
    assert_eq!(handled.values().filter(|flight| flight.dep_time.is_none()).count(), CANCELLED);
    assert_eq!(handled.values().filter(|flight| flight.tailnum.is_none()).count(), WITHOUT_TAIL_NUMBER);
    // The flights of one aeroplane are in one partition, in the order of the file.
    let mut order: BTreeMap<&String, Vec<(i32, &Flight)>> = BTreeMap::new();
    for ((partition, _), flight) in &handled {
        if let Some(tailnum) = &flight.tailnum {
            order.entry(tailnum).or_default().push((*partition, flight));
        }
    }
    for (tailnum, seen) in order {
        let expected: Vec<&Flight> = flights.iter().filter(|flight| flight.tailnum.as_ref() == Some(tailnum)).collect();
        assert!(seen.iter().all(|(partition, _)| *partition == seen[0].0), "{tailnum}");
        assert_eq!(seen.into_iter().map(|(_, flight)| flight).collect::<Vec<_>>(), expected, "{tailnum}");
    }
}
