//! A command, found as a shell would.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::listing::libraries_of;
use super::{CommandError, User};
use crate::target::elf::{self, Class, ElfObject};
use crate::target::object::open_regular;

/// A command that was found and can be executed.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file that is executed.
    pub path: PathBuf,
    /// The ELF file whose code will run: the program, or the interpreter that its first line names.
    pub image: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl Program {
    /// Finds a command as a shell would; a 64-bit one.
    pub fn find(command: &[OsString]) -> Result<Self, CommandError> {
        let found = Self::find_any(command)?;
        if elf::class_of(&found.image).ok() == Some(Class::Elf32) {
            let image = found.image.display().to_string();
            return Err(CommandError::ThirtyTwoBit(image));
        }
        Ok(found)
    }

    /// The same, whatever it is.
    pub fn find_any(command: &[OsString]) -> Result<Self, CommandError> {
        let name = command.first().map_or(OsStr::new(""), OsString::as_os_str);
        let path = find_on_path(name)?;
        let image = image_of(&path, 0)?;
        Ok(Self {
            path,
            image,
            arguments: command.to_vec(),
        })
    }

    /// The objects that the image will map when it starts, itself first, in the dynamic linker's
    /// order: the linker itself is asked, which runs nothing of the program. With a linker that
    /// is not the system's it is the image alone.
    pub fn objects(&self, user: Option<&User>) -> Vec<PathBuf> {
        let mut objects = vec![self.image.clone()];
        let interpreter = ElfObject::open(&self.image)
            .ok()
            .and_then(|elf| elf.interpreter());
        if let Some(interpreter) = interpreter {
            objects.extend(libraries_of(&self.image, Path::new(&interpreter), user));
        }
        objects
    }
}

fn find_on_path(name: &OsStr) -> Result<PathBuf, CommandError> {
    let shown = name.to_string_lossy().into_owned();
    if name.is_empty() {
        return Err(CommandError::NotFound("(an empty name)".to_owned()));
    }
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(CommandError::NotFound(shown))
            }
            Err(error) => Err(CommandError::NotExecutable(shown, error.to_string())),
            Ok(_) if is_executable(&path) => Ok(path),
            Ok(m) if m.is_dir() => Err(CommandError::NotExecutable(
                shown,
                "it is a directory".to_owned(),
            )),
            Ok(_) => Err(CommandError::NotExecutable(
                shown,
                "permission denied".to_owned(),
            )),
        };
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let candidates: Vec<PathBuf> = env::split_paths(&path).map(|dir| dir.join(name)).collect();
    if let Some(found) = candidates.iter().find(|path| is_executable(path)) {
        return Ok(found.clone());
    }
    Err(if candidates.iter().any(|path| path.is_file()) {
        CommandError::NotExecutable(shown, "permission denied".to_owned())
    } else {
        CommandError::NotFound(shown)
    })
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Follows `#!` lines to the program that will run, as deep as the kernel does (4).
fn image_of(path: &Path, depth: u32) -> Result<PathBuf, CommandError> {
    let failed = |error: io::Error| {
        CommandError::NotExecutable(path.display().to_string(), error.to_string())
    };
    let mut line = Vec::new();
    let file = open_regular(path).map_err(failed)?;
    BufReader::new(file.take(256))
        .read_until(b'\n', &mut line)
        .map_err(failed)?;
    if line.starts_with(b"\x7fELF") {
        return Ok(path.to_owned());
    }
    // A shell would run it itself; execve(2) does not (ENOEXEC).
    let Some(interpreter) = line.strip_prefix(b"#!") else {
        return Err(CommandError::NotExecutable(
            path.display().to_string(),
            "not a program: no ELF header and no #! line".to_owned(),
        ));
    };
    let interpreter = interpreter.trim_ascii();
    let mut words = interpreter
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let first = PathBuf::from(OsStr::from_bytes(words.next().unwrap_or_default()));
    if depth >= 4 {
        return Ok(first);
    }
    // `#!/usr/bin/env python3`: it is python3 that stays.
    if first.file_name() == Some(OsStr::new("env"))
        && let Some(name) = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='))
        && let Ok(found) = find_on_path(OsStr::from_bytes(name))
    {
        return image_of(&found, depth + 1);
    }
    if is_executable(&first) {
        image_of(&first, depth + 1)
    } else {
        let why = format!("its interpreter {} is missing", first.display());
        Err(CommandError::NotExecutable(path.display().to_string(), why))
    }
}
