//! Profiles for `go tool pprof` and all that read its format.
//!
//! - Every kind of figure is a sample type; [`Profile::default_kind`] is the default one.
//! - A class is the label `class` of its samples. Samples without any figure are left out.
//! - Frames that were inlined share the location of the frame they were inlined into, as lines of
//!   it, the innermost first. A function whose name is unknown is a location without lines.
//! - A mapping stands for a module, by the name alone: where it lay in memory differs from process to
//!   process and is left unknown. Each says that it has functions, also where no name was found: a
//!   reader would otherwise look for names itself, in whatever file has that name now.
//! - Function names are demangled; there is no system name, so that pprof leaves them as they are.
//!
//! The stack of a sample without frames is empty, which pprof can read but has no name for.

mod message;

use std::collections::HashMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::{Profile, Sample, names};
use crate::stacks::{Frame, FrameId};

/// Writes the profile as gzipped `profile.proto`.
pub fn write(profile: &Profile, out: &mut impl Write) -> io::Result<()> {
    let mut gzip = GzEncoder::new(out, Compression::default());
    gzip.write_all(&message_of(profile).encode_to_vec())?;
    gzip.finish()?;
    Ok(())
}

fn message_of(profile: &Profile) -> message::Profile {
    let mut builder = Builder::new(profile);
    builder.add_mappings();
    for sample in &profile.samples {
        if (0..profile.kinds.len()).any(|kind| sample.value(kind) != 0) {
            builder.add_sample(sample);
        }
    }
    builder.finish()
}

/// Gives everything its number. Numbers begin at 1, as 0 means none; those of strings at 0, which is the
/// empty one.
struct Builder<'p> {
    profile: &'p Profile<'p>,
    message: message::Profile,
    strings: HashMap<String, i64>,
    mappings: HashMap<&'p str, u64>,
    functions: HashMap<(i64, i64, u64), u64>,
    locations: HashMap<&'p [FrameId], u64>,
}

impl<'p> Builder<'p> {
    fn new(profile: &'p Profile<'p>) -> Self {
        let mut builder = Self {
            profile,
            message: message::Profile::default(),
            strings: HashMap::new(),
            mappings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        builder.string("");
        builder
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(id) = self.strings.get(text) {
            return *id;
        }
        let id = self.message.string_table.len() as i64;
        self.message.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), id);
        id
    }

    fn frame(&self, id: FrameId) -> &'p Frame {
        self.profile.stacks.frame(id)
    }

    /// The modules of all samples. pprof takes the first one for the program, so that one comes
    /// first that looks like a program.
    fn add_mappings(&mut self) {
        let stacks = self.profile.stacks;
        let frames = (0..stacks.frame_count()).map(|id| stacks.frame(FrameId(id)));
        let frames = frames.filter(|frame| !frame.module.is_empty());
        let programs = frames.clone().filter(|frame| is_program(&frame.module));
        for frame in programs.take(1).chain(frames) {
            let id = match self.mappings.get(frame.module.as_str()) {
                Some(id) => *id,
                None => self.add_mapping(&frame.module),
            };
            let mapping = &mut self.message.mapping[id as usize - 1];
            mapping.has_filenames |= frame.file.is_some();
            mapping.has_line_numbers |= frame.line.is_some();
            mapping.has_inline_frames |= frame.inlined;
        }
    }

    fn add_mapping(&mut self, module: &'p str) -> u64 {
        let id = self.message.mapping.len() as u64 + 1;
        let filename = self.string(&names::one_line(module));
        self.message.mapping.push(message::Mapping {
            id,
            filename,
            has_functions: true,
            ..message::Mapping::default()
        });
        self.mappings.insert(module, id);
        id
    }

    fn add_sample(&mut self, sample: &Sample) {
        let mut frames = self.profile.stacks.frame_ids(sample.stack);
        let mut location_id = Vec::with_capacity(frames.len());
        while !frames.is_empty() {
            let (location, rest) = frames.split_at(self.location_length(frames));
            location_id.push(self.location(location));
            frames = rest;
        }
        let mut label = Vec::new();
        if !sample.class.is_empty() {
            label.push(message::Label {
                key: self.string("class"),
                str: self.string(&names::one_line(sample.class)),
            });
        }
        let kinds = 0..self.profile.kinds.len();
        self.message.sample.push(message::Sample {
            location_id,
            value: kinds.map(|kind| sample.value(kind)).collect(),
            label,
        });
    }

    /// How many of the frames, from the innermost, are of one address: the inlined ones and what they
    /// were inlined into.
    fn location_length(&self, frames: &[FrameId]) -> usize {
        let is_inlined_into = |pair: &[FrameId]| {
            let (inner, outer) = (self.frame(pair[0]), self.frame(pair[1]));
            inner.inlined && inner.addr == outer.addr && inner.module == outer.module
        };
        1 + frames
            .windows(2)
            .take_while(|pair| is_inlined_into(pair))
            .count()
    }

    /// The number of a location: frames of one address.
    fn location(&mut self, frames: &'p [FrameId]) -> u64 {
        if let Some(id) = self.locations.get(frames) {
            return *id;
        }
        let Frame { addr, module, .. } = self.frame(frames[0]);
        let line = frames.iter().filter_map(|id| self.line(*id)).collect();
        let id = self.message.location.len() as u64 + 1;
        self.message.location.push(message::Location {
            id,
            mapping_id: self.mappings.get(module.as_str()).copied().unwrap_or(0),
            // Of the call, not of where it returns to.
            address: addr.saturating_sub(1),
            line,
        });
        self.locations.insert(frames, id);
        id
    }

    /// `None` where there is no name.
    fn line(&mut self, id: FrameId) -> Option<message::Line> {
        let frame = self.frame(id);
        let symbol = frame
            .symbol
            .as_deref()
            .filter(|symbol| !symbol.is_empty())?;
        let name = self.string(&names::one_line(symbol));
        let filename = self.string(&names::one_line(frame.file.as_deref().unwrap_or_default()));
        let mapping = self.mappings.get(frame.module.as_str()).copied();
        Some(message::Line {
            function_id: self.function(name, filename, mapping.unwrap_or(0)),
            line: i64::from(frame.line.unwrap_or(0)),
        })
    }

    /// Functions of one name in two modules are two functions.
    fn function(&mut self, name: i64, filename: i64, mapping: u64) -> u64 {
        let functions = &mut self.message.function;
        *self
            .functions
            .entry((name, filename, mapping))
            .or_insert_with(|| {
                let id = functions.len() as u64 + 1;
                functions.push(message::Function { id, name, filename });
                id
            })
    }

    fn value_type(&mut self, name: &str, unit: &str) -> message::ValueType {
        message::ValueType {
            r#type: self.string(name),
            unit: self.string(unit),
        }
    }

    fn finish(mut self) -> message::Profile {
        let profile = self.profile;
        for kind in &profile.kinds {
            let value_type = self.value_type(kind.name, kind.unit);
            self.message.sample_type.push(value_type);
        }
        if let Some(kind) = profile.kinds.get(profile.default_kind) {
            self.message.default_sample_type = self.string(kind.name);
            // Each unit was seen: nothing was sampled.
            let what = if kind.unit == "bytes" {
                "space"
            } else {
                kind.name
            };
            self.message.period_type = Some(self.value_type(what, kind.unit));
            self.message.period = 1;
        }
        if !profile.title.is_empty() {
            let title = self.string(&names::one_line(&profile.title));
            self.message.comment.push(title);
        }
        // Until the year 2262, and for spans of 292 years.
        self.message.time_nanos = i64::try_from(profile.time.as_nanosecond()).unwrap_or(i64::MAX);
        self.message.duration_nanos = i64::try_from(profile.duration_ns).unwrap_or(i64::MAX);
        self.message
    }
}

/// By the name: not a shared library, not the kernel's or an anonymous mapping.
fn is_program(module: &str) -> bool {
    let name = module.strip_suffix(".so").unwrap_or(module);
    let is_library = name != module || name.contains(".so.");
    !is_library && !module.starts_with(['[', '/'])
}

#[cfg(test)]
mod tests;
