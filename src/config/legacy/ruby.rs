//! YAML as Ruby's YAML.load_file of 2012 read it: symbols for keys, YAML 1.1 numbers and booleans, of two equal keys
//! the last.
//!
//! A scalar becomes what Ruby would have put into a string: `0123` without quotes is `83`. So what worked there works
//! here. Source: Psych's scalar_scanner.rb and the YAML 1.1 types.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// A value and the line it stands on.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub line: u64,
    pub value: Value,
}

/// A value, in Ruby's eyes.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `~`, or nothing at all.
    Nothing,
    /// Also a symbol, whole number or boolean: as Ruby prints it.
    Text(String),
    /// Ruby's way to print it is not ours.
    Float(f64),
    List(Vec<Node>),
    /// In the order of the file; symbols without their colon.
    Map(Vec<(String, Node)>),
}

/// Parses a whole file; bounded in depth, in size after aliases and in time.
pub fn parse(text: &str) -> Result<Node, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        emit_comments: false,
        strict_booleans: false,
        legacy_octal_numbers: true,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        budget: serde_saphyr::budget! { max_depth: 16, max_nodes: 50_000, max_aliases: 1_000, max_anchors: 1_000 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
    };
    serde_saphyr::from_str_with_options(text, options)
}

impl Node {
    /// A scalar. Errors say what is there instead.
    pub fn text(&self) -> Result<&str, String> {
        match &self.value {
            Value::Text(text) => Ok(text),
            Value::Nothing => Err("nothing is there".to_owned()),
            Value::Float(_) => Err("that is a number with a fraction: if it is meant as text, quote it".to_owned()),
            Value::List(_) => Err("a list is there where one word is wanted".to_owned()),
            Value::Map(_) => Err("a mapping is there where one word is wanted".to_owned()),
        }
    }

    /// A mapping's entries; nothing is an empty one, since the old files came with everything commented out.
    pub fn map(&self) -> Result<&[(String, Node)], String> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            Value::Nothing => Ok(&[]),
            _ => Err("a mapping is wanted: NAME: and indented lines below it".to_owned()),
        }
    }

    /// The value of a key, if there is one.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let entries = self.map().ok()?;
        entries.iter().find(|(name, _)| name == key).map(|(_, node)| node).filter(|node| !node.is_nothing())
    }

    pub fn is_nothing(&self) -> bool {
        self.value == Value::Nothing
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let found = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Node { line: found.referenced.line(), value: found.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Text(truth.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Text(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Text(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((key, node)) = map.next_entry::<Value, Node>()? {
            let Value::Text(key) = key else { return Err(A::Error::custom("a key is no word")) };
            let key = symbol(&key).to_owned();
            // `:host:` and `host:` are two keys for Ruby; whoever wrote both meant the last.
            match places.entry(key.clone()) {
                Entry::Occupied(place) => entries[*place.get()].1 = node,
                Entry::Vacant(place) => {
                    place.insert(entries.len());
                    entries.push((key, node));
                }
            }
        }
        Ok(Value::Map(entries))
    }
}

/// `:hosts` and `:"hosts"` are hosts.
pub fn symbol(word: &str) -> &str {
    match word.strip_prefix(':') {
        Some(name) if !name.is_empty() => name.trim_matches(['"', '\'']),
        _ => word,
    }
}
