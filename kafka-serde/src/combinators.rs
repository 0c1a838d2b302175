//! Serdes made of serdes: another type, a check, a second format.
//!
//! ```text
//!   map         bytes ──▶ A ──▶ B          (always)
//!   try_map     bytes ──▶ A ──▶ B or an error
//!   or_else     bytes ──▶ A, or what the second makes of the same bytes
//!   contramap   A ──▶ B ──▶ bytes
//! ```

use std::error::Error as StdError;
use std::fmt;

use crate::{Deserializer, Encoded, Error, ErrorKind, Serializer, Source, Stop, Target};

/// What every [`Deserializer`] can be turned into.
///
/// ```
/// use kafka_serde::{Deserializer, DeserializerExt, Json, Part, Source, Utf8};
///
/// // A topic that began with bare names, and went on with JSON: one line reads both.
/// #[derive(serde::Deserialize)]
/// struct User { name: String }
///
/// let users = Json::<User>::new().map(|user| user.name).or_else(Utf8);
/// let from = Source::new("users", Part::Value);
/// assert_eq!(users.deserialize(Some(br#"{"name":"eva"}"#), &from)?, "eva");
/// assert_eq!(users.deserialize(Some(b"eva"), &from)?, "eva");
/// # Ok::<(), kafka_serde::Stop>(())
/// ```
pub trait DeserializerExt: Deserializer + Sized {
    /// Makes another value of each one that is decoded.
    fn map<U, F>(self, map: F) -> Map<Self, F>
    where
        F: Fn(Self::Output) -> U + Send + Sync + 'static,
        U: Send + 'static,
    {
        Map { inner: self, map }
    }

    /// Makes another value of each one that is decoded, or refuses it: the record is malformed then, with the error as its
    /// cause.
    fn try_map<U, E, F>(self, map: F) -> TryMap<Self, F>
    where
        F: Fn(Self::Output) -> Result<U, E> + Send + Sync + 'static,
        U: Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        TryMap { inner: self, map }
    }

    /// Lets `second` try where this one says that the bytes are [`Malformed`](ErrorKind::Malformed); for topics that hold
    /// two formats. Other errors, of a registry say, and misses are this one's; where both refuse, the error is this
    /// one's and says what the second said.
    fn or_else<D>(self, second: D) -> OrElse<Self, D>
    where
        D: Deserializer<Output = Self::Output>,
    {
        OrElse { first: self, second }
    }
}

impl<D: Deserializer> DeserializerExt for D {}

/// What every [`Serializer`] can be turned into.
///
/// ```
/// use kafka_serde::{I64, Part, Serializer, SerializerExt, Target};
/// use std::time::Duration;
///
/// let seconds = I64.contramap(|time: &Duration| time.as_secs() as i64);
/// let mut bytes = Vec::new();
/// seconds.serialize(&Duration::from_secs(7), &mut Target::new("times", Part::Value), &mut bytes)?;
/// assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 7]);
/// # Ok::<(), kafka_serde::Stop>(())
/// ```
pub trait SerializerExt: Serializer + Sized {
    /// Makes what this one encodes of each value that is given.
    fn contramap<T, U, F>(self, map: F) -> Contramap<Self, T, F>
    where
        T: ?Sized + 'static,
        U: std::borrow::Borrow<Self::Input>,
        F: Fn(&T) -> U + Send + Sync + 'static,
    {
        Contramap { inner: self, map, input: std::marker::PhantomData }
    }
}

impl<S: Serializer> SerializerExt for S {}

/// From [`DeserializerExt::map`].
#[derive(Clone, Copy)]
pub struct Map<D, F> {
    inner: D,
    map: F,
}

impl<D, F, U> Deserializer for Map<D, F>
where
    D: Deserializer,
    F: Fn(D::Output) -> U + Send + Sync + 'static,
    U: Send + 'static,
{
    type Output = U;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<U, Stop> {
        self.inner.deserialize(bytes, from).map(&self.map)
    }
}

/// A mapped serde still writes what the serde inside writes.
impl<D: Serializer, F: Send + Sync + 'static> Serializer for Map<D, F> {
    type Input = D::Input;

    fn serialize(&self, value: &D::Input, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        self.inner.serialize(value, to, out)
    }

    fn as_bytes<'a>(&self, value: &'a D::Input) -> Option<&'a [u8]> {
        self.inner.as_bytes(value)
    }
}

/// From [`DeserializerExt::try_map`].
#[derive(Clone, Copy)]
pub struct TryMap<D, F> {
    inner: D,
    map: F,
}

impl<D, F, U, E> Deserializer for TryMap<D, F>
where
    D: Deserializer,
    F: Fn(D::Output) -> Result<U, E> + Send + Sync + 'static,
    U: Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    type Output = U;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<U, Stop> {
        let value = self.inner.deserialize(bytes, from)?;
        (self.map)(value).map_err(|error| {
            let message = "the value is not one that is accepted here";
            Error::new(ErrorKind::Malformed, message).with_source(error).into()
        })
    }
}

/// A mapped serde still writes what the serde inside writes.
impl<D: Serializer, F: Send + Sync + 'static> Serializer for TryMap<D, F> {
    type Input = D::Input;

    fn serialize(&self, value: &D::Input, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        self.inner.serialize(value, to, out)
    }

    fn as_bytes<'a>(&self, value: &'a D::Input) -> Option<&'a [u8]> {
        self.inner.as_bytes(value)
    }
}

/// From [`DeserializerExt::or_else`]. It writes what the first of the two writes.
#[derive(Clone, Copy, Debug)]
pub struct OrElse<A, B> {
    first: A,
    second: B,
}

impl<A, B> Deserializer for OrElse<A, B>
where
    A: Deserializer,
    B: Deserializer<Output = A::Output>,
{
    type Output = A::Output;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<A::Output, Stop> {
        let first = match self.first.deserialize(bytes, from) {
            Err(Stop::Error(error)) if error.kind() == ErrorKind::Malformed => error,
            other => return other,
        };
        self.second.deserialize(bytes, from).map_err(|stop| match stop {
            Stop::Miss(miss) => Stop::Miss(miss),
            Stop::Error(second) => {
                let message = format!("{first}; and read in the other format: {second}");
                Error::new(ErrorKind::Malformed, message).with_source(first).with_retry(second.retry()).into()
            }
        })
    }
}

impl<A: Serializer, B: Send + Sync + 'static> Serializer for OrElse<A, B> {
    type Input = A::Input;

    fn serialize(&self, value: &A::Input, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        self.first.serialize(value, to, out)
    }

    fn as_bytes<'a>(&self, value: &'a A::Input) -> Option<&'a [u8]> {
        self.first.as_bytes(value)
    }
}

/// From [`SerializerExt::contramap`]. It reads what the serde inside reads.
pub struct Contramap<S, T: ?Sized, F> {
    inner: S,
    map: F,
    input: std::marker::PhantomData<fn(&T)>,
}

impl<S, T, U, F> Serializer for Contramap<S, T, F>
where
    S: Serializer,
    T: ?Sized + 'static,
    U: std::borrow::Borrow<S::Input>,
    F: Fn(&T) -> U + Send + Sync + 'static,
{
    type Input = T;

    fn serialize(&self, value: &T, to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        self.inner.serialize((self.map)(value).borrow(), to, out)
    }
}

impl<S: Deserializer, T: ?Sized + 'static, F: Send + Sync + 'static> Deserializer for Contramap<S, T, F> {
    type Output = S::Output;

    fn deserialize(&self, bytes: Option<&[u8]>, from: &Source<'_>) -> Result<S::Output, Stop> {
        self.inner.deserialize(bytes, from)
    }
}

impl<S: Clone, T: ?Sized, F: Clone> Clone for Contramap<S, T, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), map: self.map.clone(), input: self.input }
    }
}

macro_rules! debug {
    ($($name:ident<$($parameter:ident $(: $bound:tt $unsized:ident)?),*>)*) => {$(
        impl<D: fmt::Debug, $($parameter $(: $bound $unsized)?),*> fmt::Debug for $name<D, $($parameter),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("inner", &self.inner).finish_non_exhaustive()
            }
        }
    )*};
}

debug! { Map<F> TryMap<F> Contramap<T: ? Sized, F> }

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::fixture::{decode, encode, refusal, survives_poison};
    use crate::{I32, Miss, Optional, Utf8};

    #[test]
    fn a_mapped_serde_reads_the_new_and_writes_the_old() {
        let lengths = Utf8.map(|text: String| text.len());
        assert_eq!(decode(&lengths, Some(b"four")).unwrap(), 4);
        assert_eq!(encode(&lengths, "four").as_deref(), Some(&b"four"[..]));
        assert_eq!(refusal(&lengths, None).0, ErrorKind::UnexpectedNull);
    }

    #[test]
    fn a_value_that_is_refused_is_malformed_and_keeps_its_cause() {
        let numbers = Utf8.try_map(|text: String| text.parse::<i32>());
        assert_eq!(decode(&numbers, Some(b"42")).unwrap(), 42);
        let error = decode(&numbers, Some(b"x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.source().unwrap().is::<std::num::ParseIntError>());
    }

    #[test]
    fn the_second_reads_what_is_malformed_to_the_first_and_nothing_else() {
        let mixed = I32.or_else(Utf8.try_map(|text: String| text.parse::<i32>()));
        assert_eq!(decode(&mixed, Some(&[0, 0, 0, 7])).unwrap(), 7);
        assert_eq!(decode(&mixed, Some(b"12345")).unwrap(), 12345);
        assert_eq!(encode(&mixed, &7), Some(vec![0, 0, 0, 7]));
        let (kind, message) = refusal(&mixed, Some(b"no number"));
        assert_eq!(kind, ErrorKind::Malformed);
        assert!(message.contains("wrong length") && message.contains("in the other format"), "{message}");
        // Null is no second format.
        assert_eq!(refusal(&mixed, None).0, ErrorKind::UnexpectedNull);
        assert_eq!(decode(&Optional::new(mixed), None).unwrap(), None);
    }

    #[test]
    fn a_miss_and_a_registry_that_is_down_are_not_a_reason_to_try_the_second() {
        struct Stops(fn() -> Stop);
        impl Deserializer for Stops {
            type Output = String;
            fn deserialize(&self, _: Option<&[u8]>, _: &Source<'_>) -> Result<String, Stop> {
                Err((self.0)())
            }
        }
        let from = Source::new("t", crate::Part::Value);
        let miss = Stops(|| Stop::Miss(Miss::new(async { Ok(()) }))).or_else(Utf8);
        assert!(matches!(miss.deserialize(Some(b"x"), &from), Err(Stop::Miss(_))));
        let down = Stops(|| Error::new(ErrorKind::Unencodable, "down").into()).or_else(Utf8);
        assert!(matches!(down.deserialize(Some(b"x"), &from), Err(Stop::Error(_))));
        let second =
            Utf8.try_map(|_| Err::<String, _>("no")).or_else(Stops(|| Stop::Miss(Miss::new(async { Ok(()) }))));
        assert!(matches!(second.deserialize(Some(b"x"), &from), Err(Stop::Miss(_))));
    }

    #[test]
    fn contramap_writes_the_new_and_reads_the_old() {
        let lengths = I32.contramap(|text: &str| text.len() as i32);
        assert_eq!(encode(&lengths, "four"), Some(vec![0, 0, 0, 4]));
        assert_eq!(decode(&lengths, Some(&[0, 0, 0, 4])).unwrap(), 4);
        assert_eq!(format!("{lengths:?}"), "Contramap { inner: I32, .. }");
    }

    #[test]
    fn poison_bytes_are_an_error_or_a_value_never_a_panic() {
        survives_poison(&I32.or_else(Utf8.try_map(|text: String| text.parse::<i32>())));
    }
}
