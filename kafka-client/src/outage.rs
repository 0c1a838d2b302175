//! What a record lacks is fetched; an outage of whoever has it (a schema registry, say) is not the record's fault, and is
//! waited out.

use std::time::Duration;

use kafka_serde::{Error, Miss, Retry};

/// The first pause after a fetch that failed; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How the fetches go that a record, or a batch, waits for. Without a bound of its own: the caller has one.
#[derive(Debug)]
pub(crate) struct Outage {
    pause: Duration,
    why: Option<Error>,
}

/// What came of a fetch. Either way the same call is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    Found,
    /// It cannot be fetched at the moment; a pause was made.
    NotNow,
}

impl Outage {
    pub(crate) fn none() -> Self {
        Self { pause: FIRST_PAUSE, why: None }
    }

    /// Fetches what is missing, or pauses where that cannot be done now; `hears` is told why before the pause.
    ///
    /// # Errors
    /// When waiting cannot help.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the waiting only; [`into_why`](Self::into_why) still knows.
    pub(crate) async fn fetch(&mut self, miss: Miss, hears: impl FnOnce(&Error)) -> Result<Fetched, Error> {
        match miss.resolve().await {
            Ok(()) => Ok(Fetched::Found),
            Err(error) if error.retry() == Retry::Permanent => Err(error),
            Err(error) => {
                hears(&error);
                self.why = Some(error);
                let pause = self.pause;
                self.pause = (pause * 2).min(LONGEST_PAUSE);
                tokio::time::sleep(pause).await;
                Ok(Fetched::NotNow)
            }
        }
    }

    /// Why the last fetch failed that did.
    pub(crate) fn into_why(self) -> Option<Error> {
        self.why
    }
}

#[cfg(test)]
mod tests {
    use kafka_serde::ErrorKind;
    use tokio::time::Instant;

    use super::*;

    fn failing(retry: Retry) -> Miss {
        Miss::new(async move { Err(Error::new(ErrorKind::RegistryUnavailable, "down").with_retry(retry)) })
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_five_seconds() {
        let mut outage = Outage::none();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let start = Instant::now();
            assert_eq!(outage.fetch(failing(Retry::Temporary), |_| ()).await.unwrap(), Fetched::NotNow);
            pauses.push(start.elapsed().as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(outage.into_why().unwrap().to_string(), "down");
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_waiting_helps_is_an_error_at_once() {
        let mut outage = Outage::none();
        let start = Instant::now();
        outage.fetch(failing(Retry::Permanent), |_| panic!("no pause")).await.unwrap_err();
        outage.fetch(Miss::new(async { Ok(()) }), |_| panic!("no pause")).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_dropped_in_the_pause_knows_why_it_waited() {
        let mut outage = Outage::none();
        let fetch = outage.fetch(failing(Retry::Persistent), |_| ());
        tokio::time::timeout(Duration::from_millis(1), fetch).await.unwrap_err();
        assert!(outage.into_why().is_some());
    }
}
