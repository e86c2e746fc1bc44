//! What a workload says that it did.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Class;

/// One line about a function. What is not stated is not known.
#[derive(Clone, Debug, Default)]
pub struct FunctionTruth {
    pub function: String,
    pub bytes: Option<u64>,
    pub count: Option<u64>,
    /// The least that it holds, where libc decides how much that is.
    pub at_least: Option<u64>,
    pub class: Option<Class>,
}

#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub functions: Vec<FunctionTruth>,
    facts: BTreeMap<String, f64>,
}

impl Truth {
    /// Takes a line if it is one of truth.
    pub fn take(&mut self, line: &str) -> bool {
        let Ok(Value::Object(object)) = serde_json::from_str(line) else {
            return false;
        };
        // A tool that shares the workload's standard output speaks JSON too.
        if object.contains_key("tool") {
            return false;
        }
        let Some(function) = object.get("function").and_then(Value::as_str) else {
            let numbers = object.iter();
            self.facts
                .extend(numbers.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))));
            return true;
        };
        let number = |name| object.get(name).and_then(Value::as_u64);
        self.functions.push(FunctionTruth {
            function: function.to_owned(),
            bytes: number("bytes"),
            count: number("count"),
            at_least: number("at_least"),
            class: object
                .get("class")
                .and_then(Value::as_str)
                .and_then(Class::parse),
        });
        true
    }

    /// A number that is not about a function, like `allocs`. The last one said counts.
    #[track_caller]
    pub fn fact(&self, name: &str) -> u64 {
        self.facts
            .get(name)
            .copied()
            .unwrap_or_else(|| panic!("the workload did not say {name:?}")) as u64
    }

    /// Bytes that all functions together hold.
    pub fn total_bytes(&self) -> u64 {
        self.functions.iter().filter_map(|f| f.bytes).sum()
    }

    /// Blocks that all functions together hold.
    pub fn total_count(&self) -> u64 {
        self.functions.iter().filter_map(|f| f.count).sum()
    }
}
