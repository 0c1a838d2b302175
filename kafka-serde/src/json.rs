//! JSON through serde.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::error::path_of;
use crate::optional::required;
use crate::{Deserializer, Encoded, Error, ErrorKind, Serializer, Source, Stop, Target};

/// `T` as JSON, without a schema.
///
/// It writes straight into the caller's buffer and allocates nothing of its own. It reads one JSON value with nothing
/// but white space around it; what else a payload may be is a [`Malformed`](ErrorKind::Malformed) error that names line,
/// column and field. Nesting deeper than 128 levels is malformed too.
///
/// `None` of a `Json<Option<T>>` is the four bytes `null`; for Kafka's null, a tombstone, use
/// [`Optional`](crate::Optional) around a `Json<T>`. JSON has no NaN and no infinity: serde_json writes `null` for them.
///
/// ```
/// use kafka_serde::{Deserializer, Json, Part, Serializer, Source, Target};
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// struct Order {
///     id: u64,
///     item: String,
/// }
///
/// let orders = Json::<Order>::new();
/// let order = Order { id: 1, item: "tea".into() };
/// let mut bytes = Vec::new();
/// orders.serialize(&order, &mut Target::new("orders", Part::Value), &mut bytes)?;
/// assert_eq!(bytes, br#"{"id":1,"item":"tea"}"#);
/// assert_eq!(orders.deserialize(Some(&bytes), &Source::new("orders", Part::Value))?, order);
/// # Ok::<(), kafka_serde::Stop>(())
/// ```
pub struct Json<T> {
    // A function that returns T, not a T: so `Json<T>` is Send and Sync whatever T is.
    value: PhantomData<fn() -> T>,
}

impl<T> Json<T> {
    /// JSON of the shape that `T` has in serde.
    pub const fn new() -> Self {
        Self { value: PhantomData }
    }
}

// By hand, since derived impls would ask the same of T.

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Json<T> {}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

impl<T: Serialize + 'static> Serializer for Json<T> {
    type Input = T;

    fn serialize(&self, value: &T, _to: &mut Target<'_>, out: &mut Vec<u8>) -> Result<Encoded, Stop> {
        match serde_json::to_writer(out, value) {
            Ok(()) => Ok(Encoded::Bytes),
            Err(error) => Err(unencodable(error).into()),
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> Deserializer for Json<T> {
    type Output = T;

    fn deserialize(&self, bytes: Option<&[u8]>, _from: &Source<'_>) -> Result<T, Stop> {
        Ok(read(required(bytes, "JSON")?)?)
    }
}

/// Reads the one JSON value that `bytes` is.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.is_empty() {
        return Err(Error::new(ErrorKind::Malformed, "empty payload where JSON is expected"));
    }
    serde_json::from_slice(bytes).map_err(|error| refused::<T>(bytes, error))
}

#[cold]
pub(crate) fn unencodable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Unencodable, "the value cannot be written as JSON").with_source(error)
}

/// Says what is wrong with the JSON in `bytes`, and where.
#[cold]
fn refused<T: DeserializeOwned>(bytes: &[u8], error: serde_json::Error) -> Error {
    let what = match error.classify() {
        Category::Data => "JSON of another shape",
        Category::Eof => "JSON cut short",
        Category::Syntax | Category::Io => "not JSON",
    };
    let at = format!("{what} at line {} column {}", error.line(), error.column());
    let refused = match field::<T>(bytes) {
        Some(path) => Error::new(ErrorKind::Malformed, format!("{at} in {path}")).with_field(path),
        None => Error::new(ErrorKind::Malformed, at),
    };
    refused.with_source(error)
}

/// The path to the field that cannot be read. Reads the payload once more, which only a refused payload has to pay.
fn field<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = serde_path_to_error::deserialize::<_, T>(&mut json).err()?;
    path_of(error.path())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::error::Error as _;
    use std::rc::Rc;

    use serde::Deserialize;

    use super::*;
    use crate::fixture::{decode, encode, refusal, survives_poison};
    use crate::{List, Optional};

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Order {
        id: u64,
        items: Vec<Item>,
    }

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Item {
        name: String,
        price: f64,
    }

    fn order() -> Order {
        Order { id: 1, items: vec![Item { name: "tea \"\u{e9}\"".into(), price: 2.5 }] }
    }

    const ORDERS: Json<Order> = Json::new();

    fn why(bytes: &[u8]) -> String {
        let (kind, message) = refusal(&ORDERS, Some(bytes));
        assert_eq!(kind, ErrorKind::Malformed);
        message
    }

    #[test]
    fn a_value_comes_back_as_it_was() {
        let bytes = encode(&ORDERS, &order()).unwrap();
        assert_eq!(bytes, r#"{"id":1,"items":[{"name":"tea \"é\"","price":2.5}]}"#.as_bytes());
        assert_eq!(decode(&ORDERS, Some(&bytes)).unwrap(), order());
    }

    #[test]
    fn white_space_around_the_value_is_fine_and_anything_else_is_not() {
        assert!(decode(&ORDERS, Some(b" \n{\"id\":1,\"items\":[]}\r\n\t")).is_ok());
        assert_eq!(why(b"{\"id\":1,\"items\":[]} x"), "not JSON at line 1 column 21");
        assert_eq!(why(b"{\"id\":1,\"items\":[]}{}"), "not JSON at line 1 column 20");
    }

    #[test]
    fn an_empty_payload_is_named_as_such() {
        assert_eq!(why(b""), "empty payload where JSON is expected");
        assert_eq!(why(b"  "), "JSON cut short at line 1 column 2");
    }

    #[test]
    fn kafkas_null_is_not_the_null_of_json() {
        let (kind, message) = refusal(&ORDERS, None);
        assert_eq!(kind, ErrorKind::UnexpectedNull);
        assert_eq!(message, "null where JSON is expected; use Optional to accept null");

        let inside = Json::<Option<u8>>::new();
        assert_eq!(encode(&inside, &None).unwrap(), b"null");
        assert_eq!(refusal(&inside, None).0, ErrorKind::UnexpectedNull);

        let outside = Optional::new(Json::<u8>::new());
        assert_eq!(encode(&outside, &None), None);
        assert_eq!(refusal(&outside, Some(b"null")).0, ErrorKind::Malformed);
    }

    #[test]
    fn a_wrong_field_is_named_with_line_and_column() {
        let bytes = b"{\"id\":1,\n \"items\":[{\"name\":\"tea\",\"price\":\"2\"}]}";
        assert_eq!(why(bytes), "JSON of another shape at line 2 column 35 in items[0].price");
        assert_eq!(why(b"{\"id\":-1,\"items\":[]}"), "JSON of another shape at line 1 column 8 in id");
    }

    #[test]
    fn a_missing_field_is_named_by_the_cause() {
        let error = decode(&ORDERS, Some(b"{\"id\":1}")).unwrap_err();
        assert_eq!(error.to_string(), "JSON of another shape at line 1 column 8");
        assert!(error.source().unwrap().to_string().starts_with("missing field `items`"));
    }

    #[test]
    fn a_long_key_does_not_make_a_long_message() {
        let bytes = format!("{{\"{}\":true}}", "\u{e9}".repeat(100_000)).into_bytes();
        let (_, message) = refusal(&Json::<BTreeMap<String, u8>>::new(), Some(&bytes));
        assert!(message.ends_with("\u{e9}") && message.len() < 1_000, "{} bytes", message.len());
    }

    #[test]
    fn json_that_stops_early_says_where() {
        let bytes = encode(&ORDERS, &order()).unwrap();
        for length in 1..bytes.len() {
            assert!(why(&bytes[..length]).starts_with("JSON cut short at line 1 column"), "{length}");
        }
        assert_eq!(why(b"{\"id\":1,\"items\":[{\"na"), "JSON cut short at line 1 column 21 in items[0]");
    }

    #[test]
    fn bytes_that_are_not_json_or_not_utf8_are_malformed() {
        assert_eq!(why(b"<order/>"), "not JSON at line 1 column 1");
        assert_eq!(refusal(&Json::<String>::new(), Some(b"\"\xff\"")).1, "not JSON at line 1 column 2");
        assert_eq!(refusal(&Json::<String>::new(), Some(b"\"\\ud800\"")).0, ErrorKind::Malformed);
        assert_eq!(refusal(&Json::<serde_json::Value>::new(), Some(b"[\"\xc0\xaf\"]")).0, ErrorKind::Malformed);
        assert_eq!(refusal(&Json::<u64>::new(), Some(b"1e999")).0, ErrorKind::Malformed);
        // A confluent frame read with the wrong serde.
        assert_eq!(why(&[0, 0, 0, 0, 1, b'{', b'}']), "not JSON at line 1 column 1");
    }

    #[test]
    fn deep_nesting_is_malformed_not_a_stack_overflow() {
        #[derive(Deserialize)]
        struct Node {
            _next: Option<Box<Node>>,
        }
        for level in ["[", "{\"a\":", "{\"_next\":"] {
            let bytes = level.repeat(100_000).into_bytes();
            let (kind, message) = refusal(&Json::<serde_json::Value>::new(), Some(&bytes));
            assert_eq!(kind, ErrorKind::Malformed);
            assert!(message.len() < 1_000, "the path is bounded by the nesting: {}", message.len());
            assert_eq!(refusal(&Json::<Node>::new(), Some(&bytes)).0, ErrorKind::Malformed);
            assert_eq!(refusal(&ORDERS, Some(&bytes)).0, ErrorKind::Malformed);
        }
    }

    #[test]
    fn a_value_without_a_json_form_is_unencodable_and_names_the_cause() {
        let by_list = BTreeMap::from([(vec![1], 2)]);
        let target = &mut Target::new("t", crate::Part::Value);
        let Err(Stop::Error(error)) = Json::new().serialize(&by_list, target, &mut Vec::new()) else {
            panic!("encoded")
        };
        assert_eq!(error.kind(), ErrorKind::Unencodable);
        assert_eq!(error.to_string(), "the value cannot be written as JSON");
        assert_eq!(error.source().unwrap().to_string(), "key must be a string");
    }

    #[test]
    fn a_payload_inside_a_list_and_inside_optional_works() {
        let serde = List::new(Optional::new(Json::<u8>::new()));
        let bytes = encode(&serde, &[Some(7), None]).unwrap();
        assert_eq!(bytes, [1, 0, 0, 0, 2, 0, 0, 0, 1, b'7', 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(decode(&serde, Some(&bytes)).unwrap(), [Some(7), None]);
    }

    #[test]
    fn the_serde_is_copy_default_debug_send_and_sync_whatever_the_value_is() {
        fn is<S: Copy + Default + fmt::Debug + Send + Sync>(_: S) {}
        is(Json::<Rc<()>>::new());
        assert_eq!(format!("{:?}", Json::<Rc<()>>::new()), "Json");
    }

    #[test]
    fn poison_bytes_are_an_error_or_a_value_never_a_panic() {
        survives_poison(&ORDERS);
        survives_poison(&Json::<serde_json::Value>::new());
        survives_poison(&Json::<BTreeMap<String, Vec<Option<f32>>>>::new());
        survives_poison(&Json::<String>::new());
    }
}
