//! memleak's JSON reports.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{FunctionTruth, Truth};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    Heap,
    Mmap,
    ThreadStack,
    Arena,
    Tls,
    Slab,
    Pages,
    Percpu,
    Vmalloc,
    Backing,
}

impl Class {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "heap" => Self::Heap,
            "mmap" => Self::Mmap,
            "thread-stack" => Self::ThreadStack,
            "arena" => Self::Arena,
            "tls" => Self::Tls,
            "slab" => Self::Slab,
            "pages" => Self::Pages,
            "percpu" => Self::Percpu,
            "vmalloc" => Self::Vmalloc,
            "backing" => Self::Backing,
            _ => return None,
        })
    }

    /// What the totals sum up.
    pub fn is_of_the_program(self) -> bool {
        matches!(self, Self::Heap | Self::Mmap)
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    pub bytes: u64,
    pub count: u64,
    pub allocs: u64,
    pub frees: u64,
}

#[derive(Clone, Debug)]
pub struct Frame {
    pub symbol: String,
    pub module: String,
    pub file: String,
    pub line: u64,
    pub inlined: bool,
}

impl Frame {
    fn of(value: &Value) -> Self {
        let text = |name| value[name].as_str().unwrap_or_default().to_owned();
        Self {
            symbol: text("symbol"),
            module: text("module"),
            file: text("file"),
            line: value["line"].as_u64().unwrap_or_default(),
            inlined: value["inlined"].as_bool().unwrap_or_default(),
        }
    }

    /// Is this `function`, whatever its language adds to the name?
    pub fn is(&self, function: &str) -> bool {
        plain_name(&self.symbol) == function
    }

    /// The module's file name.
    pub fn object(&self) -> &str {
        let name = Path::new(&self.module).file_name();
        name.and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// `krate::function::h0123456789abcdef` and `space::function(int)` are both `function`.
pub(crate) fn plain_name(symbol: &str) -> &str {
    let symbol = match symbol.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 => path,
        _ => symbol,
    };
    let path = symbol.split('(').next().unwrap_or(symbol).trim_end();
    path.rsplit("::").next().unwrap_or(path)
}

#[derive(Clone, Debug)]
pub struct Stack {
    pub figures: Figures,
    pub oldest_ms: u64,
    pub pid: u64,
    pub class: Class,
    /// From the allocating call outward.
    pub frames: Vec<Frame>,
}

impl Stack {
    #[track_caller]
    fn of(value: &Value) -> Self {
        let class = value["class"].as_str().unwrap_or_default();
        Self {
            figures: Figures {
                bytes: number(value, "bytes"),
                count: number(value, "count"),
                allocs: number(value, "allocs"),
                frees: number(value, "frees"),
            },
            oldest_ms: value["oldest_ms"].as_u64().unwrap_or_default(),
            pid: number(value, "pid"),
            class: Class::parse(class).unwrap_or_else(|| panic!("class {class:?}")),
            frames: value["frames"]
                .as_array()
                .map(|frames| frames.iter().map(Frame::of).collect())
                .unwrap_or_default(),
        }
    }

    pub fn has(&self, function: &str) -> bool {
        self.frames.iter().any(|frame| frame.is(function))
    }

    /// The innermost function in the file `object`: who called into the libraries.
    pub fn caller_in(&self, object: &str) -> Option<&Frame> {
        let mut frames = self.frames.iter();
        frames.find(|frame| frame.object() == object && !frame.inlined)
    }
}

#[track_caller]
fn number(value: &Value, name: &str) -> u64 {
    let number = value[name].as_u64();
    number.unwrap_or_else(|| panic!("{name} is no count in {value}"))
}

#[derive(Clone, Debug)]
pub struct Report(Value);

impl Report {
    /// Nothing if the line is not memleak's.
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        (value["tool"] == "memleak").then_some(Self(value))
    }

    pub fn json(&self) -> &Value {
        &self.0
    }

    #[track_caller]
    pub fn total_bytes(&self) -> u64 {
        number(&self.0["total"], "bytes")
    }

    #[track_caller]
    pub fn total_count(&self) -> u64 {
        number(&self.0["total"], "count")
    }

    #[track_caller]
    pub fn allocs(&self) -> u64 {
        number(&self.0["events"], "allocs")
    }

    #[track_caller]
    pub fn frees(&self) -> u64 {
        number(&self.0["events"], "frees")
    }

    #[track_caller]
    pub fn failed(&self) -> u64 {
        number(&self.0["events"], "failed")
    }

    #[track_caller]
    pub fn untracked_frees(&self) -> u64 {
        number(&self.0["untracked"], "frees")
    }

    #[track_caller]
    pub fn loss(&self) -> Map<String, Value> {
        let loss = self.0["loss"].as_object();
        loss.expect("a report has an object \"loss\"").clone()
    }

    #[track_caller]
    pub fn stacks(&self) -> Vec<Stack> {
        let stacks = self.0["stacks"].as_array();
        let stacks = stacks.expect("a report has an array \"stacks\"");
        stacks.iter().map(Stack::of).collect()
    }

    #[track_caller]
    pub fn stacks_of(&self, function: &str) -> Vec<Stack> {
        let mut stacks = self.stacks();
        stacks.retain(|stack| stack.has(function));
        stacks
    }

    /// What all stacks with `function` in them hold together.
    #[track_caller]
    pub fn figures(&self, function: &str) -> Figures {
        let mut sum = Figures::default();
        for stack in self.stacks_of(function) {
            sum.bytes += stack.figures.bytes;
            sum.count += stack.figures.count;
            sum.allocs += stack.figures.allocs;
            sum.frees += stack.figures.frees;
        }
        sum
    }

    /// Panics with all that differs from what the workload says.
    #[track_caller]
    pub fn agrees_with(&self, truth: &Truth) {
        let functions = truth.functions.iter();
        let wrong: Vec<String> = functions.filter_map(|f| self.disagreement(f)).collect();
        assert!(
            wrong.is_empty(),
            "{}\nloss {:?}\nstacks\n{}",
            wrong.join("\n"),
            self.loss(),
            self.overview()
        );
    }

    fn disagreement(&self, truth: &FunctionTruth) -> Option<String> {
        let figures = self.figures(&truth.function);
        let stacks = self.stacks_of(&truth.function);
        let other_class = stacks
            .iter()
            .filter(|stack| stack.figures.count > 0)
            .find(|stack| truth.class.is_some_and(|class| class != stack.class));
        let right = truth.bytes.is_none_or(|bytes| bytes == figures.bytes)
            && truth.count.is_none_or(|count| count == figures.count)
            && truth.at_least.is_none_or(|least| figures.bytes >= least)
            && other_class.is_none();
        (!right).then(|| {
            let class = other_class.map(|stack| stack.class);
            format!("{truth:?} is reported as {figures:?} {class:?}")
        })
    }

    /// A line for each stack, for the messages of failed tests.
    fn overview(&self) -> String {
        let line = |stack: &Stack| {
            let symbols = stack.frames.iter().map(|frame| frame.symbol.as_str());
            let symbols: Vec<&str> = symbols.take(8).collect();
            let Figures { bytes, count, .. } = stack.figures;
            format!(
                "  {bytes} in {count} {:?} {}",
                stack.class,
                symbols.join(" < ")
            )
        };
        let lines: Vec<String> = self.stacks().iter().map(line).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn names_lose_what_their_language_adds() {
        assert_eq!(plain_name("leak_small"), "leak_small");
        assert_eq!(plain_name("leak_new()"), "leak_new");
        assert_eq!(plain_name("leak::leak_box"), "leak_box");
        assert_eq!(plain_name("leak::leak_box::h0123456789abcdef"), "leak_box");
        assert_eq!(plain_name("space::leak(std::string const&)"), "leak");
        assert_eq!(plain_name("operator new(unsigned long)"), "operator new");
        assert_eq!(plain_name(""), "");
    }
}
