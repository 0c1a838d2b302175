//! Schemas and values by the thousand, the same in each run.

use apache_avro::types::Value as Theirs;

use super::*;

/// A stream of numbers, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn number(&mut self) -> i64 {
        let wide = self.roll(64);
        (self.roll(u64::MAX) as i64) >> wide
    }
}

/// A schema, and a value of it.
fn generate(dice: &mut Dice, depth: usize, names: &mut usize) -> (String, Value) {
    let kinds = if depth == 0 { 8 } else { 14 };
    let mut name = || {
        *names += 1;
        format!("T{names}")
    };
    match dice.roll(kinds) {
        0 => (r#""null""#.into(), Value::Null),
        1 => (r#""boolean""#.into(), Value::Boolean(dice.roll(2) == 0)),
        2 => (r#""int""#.into(), Value::Int(dice.number() as i32)),
        3 => (r#""long""#.into(), Value::Long(dice.number())),
        4 => (r#""float""#.into(), Value::Float(dice.number() as f32)),
        5 => (r#""double""#.into(), Value::Double(dice.number() as f64 / 3.0)),
        6 => (r#""bytes""#.into(), Value::Bytes(dice.number().to_be_bytes()[..dice.roll(8) as usize].to_vec())),
        7 => (r#""string""#.into(), Value::String("\u{e9}x".repeat(dice.roll(40) as usize))),
        8 => {
            let name = name();
            let symbol = ["A", "B", "C"][dice.roll(3) as usize];
            (format!(r#"{{"type":"enum","name":"{name}","symbols":["A","B","C"]}}"#), Value::Enum(name, symbol.into()))
        }
        9 => {
            let (name, size) = (name(), dice.roll(8) as usize);
            (
                format!(r#"{{"type":"fixed","name":"{name}","size":{size}}}"#),
                Value::Fixed(name, dice.number().to_be_bytes()[..size].to_vec()),
            )
        }
        10 => {
            let (items, item) = generate(dice, depth - 1, names);
            let list = vec![item; dice.roll(4) as usize];
            (format!(r#"{{"type":"array","items":{items}}}"#), Value::Array(list))
        }
        11 => {
            let (values, value) = generate(dice, depth - 1, names);
            let entries = (0..dice.roll(4)).map(|index| (format!("k{index}"), value.clone())).collect();
            (format!(r#"{{"type":"map","values":{values}}}"#), Value::Map(entries))
        }
        12 => {
            let (other, value) = generate(dice, 0, names);
            let null = dice.roll(2) == 0 || other == r#""null""#;
            let schema = if other == r#""null""# { r#"["null","int"]"#.into() } else { format!(r#"["null",{other}]"#) };
            (schema, if null { Value::Null } else { value })
        }
        _ => {
            let name = name();
            let fields: Vec<_> = (0..dice.roll(5)).map(|_| generate(dice, depth - 1, names)).collect();
            let types: Vec<_> = fields
                .iter()
                .enumerate()
                .map(|(index, (schema, _))| format!(r#"{{"name":"f{index}","type":{schema}}}"#))
                .collect();
            let schema = format!(r#"{{"type":"record","name":"{name}","fields":[{}]}}"#, types.join(","));
            let values = fields.into_iter().enumerate().map(|(index, (_, value))| (format!("f{index}"), value));
            (schema, Value::record(name, values))
        }
    }
}

/// Whether two crates mean the same value.
fn same(ours: &Value, theirs: &Theirs) -> bool {
    match (ours, theirs) {
        (ours, Theirs::Union(_, theirs)) => same(ours, theirs),
        (Value::Null, Theirs::Null) => true,
        (Value::Boolean(ours), Theirs::Boolean(theirs)) => ours == theirs,
        (Value::Int(ours), Theirs::Int(theirs)) => ours == theirs,
        (Value::Long(ours), Theirs::Long(theirs)) => ours == theirs,
        (Value::Float(ours), Theirs::Float(theirs)) => ours == theirs,
        (Value::Double(ours), Theirs::Double(theirs)) => ours == theirs,
        (Value::Bytes(ours), Theirs::Bytes(theirs)) | (Value::Fixed(_, ours), Theirs::Fixed(_, theirs)) => {
            ours == theirs
        }
        (Value::String(ours), Theirs::String(theirs)) | (Value::Enum(_, ours), Theirs::Enum(_, theirs)) => {
            ours == theirs
        }
        (Value::Array(ours), Theirs::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Map(ours), Theirs::Map(theirs)) => {
            ours.len() == theirs.len() && ours.iter().all(|(key, value)| same(value, &theirs[key]))
        }
        (Value::Record(_, ours), Theirs::Record(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(o, t)| o.0 == t.0 && same(&o.1, &t.1))
        }
        _ => false,
    }
}

#[test]
fn what_is_written_is_read_back_by_us_and_by_apache_avro() {
    let mut dice = Dice(0x5eed);
    for round in 0..3_000 {
        let (schema, value) = generate(&mut dice, 3, &mut 0);
        // Top-level bytes are raw here and not there.
        if schema == r#""bytes""# {
            continue;
        }
        let bytes = encode_value(&schema, &value);
        assert_eq!(decode_value(&schema, &bytes).unwrap(), value, "{round}: {schema}");
        let theirs = theirs(&schema, &bytes);
        assert!(same(&value, &theirs), "{round}: {schema}\n{value:?}\n{theirs:?}");
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_an_error_or_a_value() {
    let mut dice = Dice(0xb17);
    for _ in 0..300 {
        let (schema, value) = generate(&mut dice, 3, &mut 0);
        let plan = plan(&schema, &schema);
        let bytes = encode_value(&schema, &value);
        for at in 0..bytes.len().min(60) {
            let _ = value::read(&plan, &mut Input::new(&bytes[..at]));
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let _ = value::read(&plan, &mut Input::new(&flipped));
                let _ = read::<serde::de::IgnoredAny>(&plan, &flipped);
            }
        }
    }
}

/// Adds a field with a default in front, drops the last one, and widens the numbers of a record of two fields.
#[test]
fn evolution_agrees_with_apache_avro() {
    let mut dice = Dice(0xe40);
    let wider = [("int", "long"), ("int", "double"), ("long", "float"), ("float", "double"), ("string", "bytes")];
    for _ in 0..500 {
        let (from, to) = wider[dice.roll(wider.len() as u64) as usize];
        let (dropped, gone) = generate(&mut dice, 2, &mut 0);
        let writer = record(&format!(r#"{{"name":"dropped","type":{dropped}}},{{"name":"kept","type":"{from}"}}"#));
        let reader =
            record(&format!(r#"{{"name":"kept","type":"{to}"}},{{"name":"added","type":"string","default":"new"}}"#));
        let kept = match from {
            "int" => Value::Int(dice.number() as i32),
            "long" => Value::Long(dice.number()),
            "float" => Value::Float(dice.number() as f32),
            _ => Value::String("text".into()),
        };
        let bytes = encode_value(&writer, &Value::record("R", [("dropped", gone), ("kept", kept)]));
        let ours = evolve_value(&writer, &reader, &bytes).unwrap();
        let [writer, reader] = [&writer, &reader].map(|text| apache_avro::Schema::parse_str(text).unwrap());
        let theirs = apache_avro::reader::datum::GenericDatumReader::builder(&writer)
            .reader_schema(&reader)
            .build()
            .unwrap()
            .read_value(&mut &*bytes)
            .unwrap();
        assert!(same(&ours, &theirs), "{ours:?}\n{theirs:?}");
    }
}
