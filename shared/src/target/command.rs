//! A command of our own as the target: found, made ready behind a gate, and let go once the
//! probes are in.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::elf::{self, Class, ElfObject};

/// Why a command cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such file, here or on the PATH.
    #[error("{0}: command not found")]
    NotFound(String),
    /// The file is no program.
    #[error("{0}: cannot be executed: {1}")]
    NotExecutable(String, String),
    /// A 32-bit program.
    #[error("{0} is a 32-bit program, and only 64-bit programs can be traced")]
    ThirtyTwoBit(String),
    /// `--user` names nobody.
    #[error("no user is called {0}")]
    NoSuchUser(String),
    /// The system would not do it.
    #[error("starting {command}")]
    System {
        /// The command.
        command: String,
        /// Why.
        source: io::Error,
    },
}

/// Whom a command runs as.
#[derive(Clone, Debug)]
pub struct User {
    name: CString,
    home: CString,
    uid: libc::uid_t,
    gid: libc::gid_t,
}

impl User {
    /// Looks a user up by name.
    pub fn named(name: &str) -> Result<Self, CommandError> {
        let unknown = || CommandError::NoSuchUser(name.to_owned());
        let c_name = CString::new(name).map_err(|_| unknown())?;
        // SAFETY: all zeroes is a valid passwd for getpwnam_r to fill in.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut strings = vec![0; 16 << 10];
        let mut found = std::ptr::null_mut();
        // SAFETY: the buffers are ours and as long as we say; `entry` points into `strings`.
        unsafe {
            libc::getpwnam_r(
                c_name.as_ptr(),
                &raw mut entry,
                strings.as_mut_ptr(),
                strings.len(),
                &raw mut found,
            );
        }
        if found.is_null() {
            return Err(unknown());
        }
        // SAFETY: getpwnam_r found the user, so pw_dir is a string inside `strings`.
        let home = unsafe { std::ffi::CStr::from_ptr(entry.pw_dir) }.to_owned();
        Ok(Self {
            name: c_name,
            home,
            uid: entry.pw_uid,
            gid: entry.pw_gid,
        })
    }
}

/// A command that was found and can be executed.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file that is executed.
    pub path: PathBuf,
    /// The ELF file whose code will run: the program, or the interpreter that its first line names.
    pub image: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Finds a command as a shell would.
    pub fn find(command: &[OsString]) -> Result<Self, CommandError> {
        let name = command.first().map_or(OsStr::new(""), OsString::as_os_str);
        let path = find_on_path(name)?;
        let image = image_of(&path, 0)?;
        if elf::class_of(&image).ok() == Some(Class::Elf32) {
            return Err(CommandError::ThirtyTwoBit(image.display().to_string()));
        }
        Ok(Self {
            path,
            image,
            arguments: command.to_vec(),
        })
    }

    /// The objects that the image will map when it starts, itself first, in the dynamic linker's
    /// order: the linker itself is asked (`--list`, which runs nothing of the program).
    pub fn objects(&self) -> Vec<PathBuf> {
        let mut objects = vec![self.image.clone()];
        let interpreter = ElfObject::open(&self.image)
            .ok()
            .and_then(|elf| elf.interpreter());
        let Some(interpreter) = interpreter else {
            return objects;
        };
        let listing = Command::new(interpreter)
            .arg("--list")
            .arg(&self.image)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        if let Ok(listing) = listing {
            objects.extend(parse_listing(&listing.stdout));
        }
        objects
    }
}

/// `libc.so.6 => /lib/libc.so.6 (0x7f…)`, or a path alone.
fn parse_listing(listing: &[u8]) -> Vec<PathBuf> {
    let lines = listing.split(|&b| b == b'\n');
    lines
        .filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            let target = line.split_once("=>").map_or(&*line, |(_, target)| target);
            let path = target
                .rsplit_once(" (0x")
                .map_or(target, |(path, _)| path)
                .trim();
            path.starts_with('/').then(|| PathBuf::from(path))
        })
        .collect()
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
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| is_executable(candidate))
        .ok_or(CommandError::NotFound(shown))
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
    let file = File::open(path).map_err(failed)?;
    BufReader::new(file.take(256))
        .read_until(b'\n', &mut line)
        .map_err(failed)?;
    let Some(interpreter) = line.strip_prefix(b"#!") else {
        return Ok(path.to_owned());
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

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an exit status.
    Exited(u8),
    /// By a signal.
    Signalled(i32),
}

impl Ending {
    /// The exit status to pass on: its own, or 128 and the signal, as shells have it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => 128_u8.wrapping_add(signal as u8),
        }
    }
}

/// A child that waits at the gate, or runs.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    command: String,
    gate: Option<File>,
    failure: File,
    ending: Option<Ending>,
}

impl Child {
    /// Forks a child that waits until [`Child::release`]. If this process ends before, in any
    /// way, the gate closes and the child ends without having run anything.
    pub fn prepare(program: &Program, user: Option<&User>) -> Result<Self, CommandError> {
        let command = program.path.display().to_string();
        let failed = |source| CommandError::System {
            command: command.clone(),
            source,
        };
        let image = ExecImage::new(program, user).map_err(failed)?;
        let (gate_out, gate_in) = pipe().map_err(failed)?;
        let (failure_out, failure_in) = pipe().map_err(failed)?;
        // SAFETY: the child calls only async-signal-safe functions (see `ExecImage::run`).
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => Err(failed(io::Error::last_os_error())),
            0 => image.run(&gate_out, gate_in, &failure_in, user),
            pid => Ok(Self {
                pid: pid as u32,
                command,
                gate: Some(gate_in.into()),
                failure: failure_out.into(),
                ending: None,
            }),
        }
    }

    /// The child's process ID, before and after its exec.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Opens the gate, and waits until the command runs.
    pub fn release(&mut self) -> Result<(), CommandError> {
        let failed = |command: &str, source| CommandError::System {
            command: command.to_owned(),
            source,
        };
        if let Some(mut gate) = self.gate.take() {
            gate.write_all(b"\n")
                .map_err(|error| failed(&self.command, error))?;
        }
        let mut errno = [0; 4];
        // The pipe closes at the exec; what comes through it is why there was none.
        match self.failure.read(&mut errno) {
            Ok(4) => {
                let _ = self.wait();
                let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
                Err(failed(&self.command, error))
            }
            _ => Ok(()),
        }
    }

    /// Sends the child a signal, unless it has ended.
    pub fn signal(&self, signal: i32) {
        if self.ending.is_none() {
            // SAFETY: our own child, which has not been waited for: the PID is still its.
            unsafe { libc::kill(self.pid as libc::pid_t, signal) };
        }
    }

    /// Waits for the end of the child.
    pub fn wait(&mut self) -> io::Result<Ending> {
        loop {
            if let Some(ending) = self.wait_with(0)? {
                return Ok(ending);
            }
        }
    }

    /// How the child has ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<Ending>> {
        self.wait_with(libc::WNOHANG)
    }

    fn wait_with(&mut self, options: i32) -> io::Result<Option<Ending>> {
        if self.ending.is_some() {
            return Ok(self.ending);
        }
        let mut status = 0;
        // SAFETY: waits for our own child, into our own variable.
        match unsafe { libc::waitpid(self.pid as libc::pid_t, &raw mut status, options) } {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            0 => {}
            _ if libc::WIFSIGNALED(status) => {
                self.ending = Some(Ending::Signalled(libc::WTERMSIG(status)));
            }
            _ => self.ending = Some(Ending::Exited(libc::WEXITSTATUS(status) as u8)),
        }
        Ok(self.ending)
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: writes two descriptors into our array.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Everything that the child needs, allocated before the fork.
struct ExecImage {
    path: CString,
    _arguments: Vec<CString>,
    argument_pointers: Vec<*const libc::c_char>,
    _environment: Vec<CString>,
    environment_pointers: Vec<*const libc::c_char>,
}

impl ExecImage {
    fn new(program: &Program, user: Option<&User>) -> io::Result<Self> {
        let arguments = program
            .arguments
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let environment = environment(user)?;
        let pointers = |strings: &[CString]| {
            strings
                .iter()
                .map(|s| s.as_ptr())
                .chain([std::ptr::null()])
                .collect::<Vec<_>>()
        };
        Ok(Self {
            path: CString::new(program.path.as_os_str().as_bytes())?,
            argument_pointers: pointers(&arguments),
            environment_pointers: pointers(&environment),
            _arguments: arguments,
            _environment: environment,
        })
    }

    /// In the child: waits at the gate, becomes the user, and executes. Only system calls.
    fn run(&self, gate: &OwnedFd, gate_in: OwnedFd, failure: &OwnedFd, user: Option<&User>) -> ! {
        // Or the child itself would hold its gate open.
        drop(gate_in);
        let mut byte = 0_u8;
        // SAFETY: reads one byte into our variable; system calls and prepared pointers only.
        unsafe {
            // The handlers are this tool's, and would speak in its name.
            for signal in [libc::SIGINT, libc::SIGTERM] {
                libc::signal(signal, libc::SIG_DFL);
            }
            loop {
                match libc::read(gate.as_raw_fd(), (&raw mut byte).cast(), 1) {
                    1 => break,
                    -1 if *libc::__errno_location() == libc::EINTR => {}
                    _ => libc::_exit(0),
                }
            }
            reset_signals();
            if user.is_none_or(User::become_it) {
                libc::execve(
                    self.path.as_ptr(),
                    self.argument_pointers.as_ptr(),
                    self.environment_pointers.as_ptr(),
                );
            }
            let errno = (*libc::__errno_location()).to_ne_bytes();
            libc::write(failure.as_raw_fd(), errno.as_ptr().cast(), errno.len());
            libc::_exit(127)
        }
    }
}

impl User {
    /// In the child: groups first, for afterwards it may not any more.
    fn become_it(&self) -> bool {
        // SAFETY: plain system calls with prepared arguments.
        unsafe {
            libc::initgroups(self.name.as_ptr(), self.gid) == 0
                && libc::setgid(self.gid) == 0
                && libc::setuid(self.uid) == 0
        }
    }
}

/// The Rust runtime ignores SIGPIPE; the command shall not inherit that.
fn reset_signals() {
    // SAFETY: async-signal-safe calls on our own signal state.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

fn environment(user: Option<&User>) -> io::Result<Vec<CString>> {
    let mut variables: Vec<(OsString, OsString)> = env::vars_os().collect();
    if let Some(user) = user {
        let of_user = [
            ("HOME", &user.home),
            ("USER", &user.name),
            ("LOGNAME", &user.name),
        ];
        variables.retain(|(name, _)| of_user.iter().all(|(own, _)| name != own));
        for (name, value) in of_user {
            variables.push((name.into(), OsString::from_vec(value.to_bytes().to_vec())));
        }
    }
    variables
        .into_iter()
        .map(|(name, value)| {
            let line = [name.as_bytes(), b"=", value.as_bytes()].concat();
            CString::new(line).map_err(Into::into)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(words: &[&str]) -> Result<Program, CommandError> {
        Program::find(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn commands_are_found_as_by_a_shell() {
        assert!(program(&["sh"]).unwrap().path.is_absolute());
        assert!(matches!(
            program(&["no-such-command-here"]),
            Err(CommandError::NotFound(_))
        ));
        assert!(matches!(
            program(&["/"]),
            Err(CommandError::NotExecutable(..))
        ));
        assert!(matches!(
            program(&["/etc/passwd"]),
            Err(CommandError::NotExecutable(..))
        ));
        assert!(matches!(program(&[""]), Err(CommandError::NotFound(_))));
    }

    #[test]
    fn a_script_runs_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        std::fs::write(&path, "#!/usr/bin/env -S sh -e\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let script = program(&[path.to_str().unwrap()]).unwrap();
        assert_eq!(script.path, path);
        assert_eq!(script.image, program(&["sh"]).unwrap().image);
    }

    #[test]
    fn the_listing_of_the_dynamic_linker_is_read() {
        let listing = b"\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/a b/libc.so.6 (0x7f00)\n\
                        \t/lib64/ld-linux-x86-64.so.2 (0x7f01)\n\tlibx.so => not found\n";
        let expected: Vec<PathBuf> = vec![
            "/lib/a b/libc.so.6".into(),
            "/lib64/ld-linux-x86-64.so.2".into(),
        ];
        assert_eq!(parse_listing(listing), expected);
    }

    #[test]
    fn a_child_waits_at_its_gate_and_passes_its_status_on() {
        let shell = program(&["sh", "-c", "exit 7"]).unwrap();
        let mut child = Child::prepare(&shell, None).unwrap();
        child.release().unwrap();
        assert_eq!(child.wait().unwrap(), Ending::Exited(7));
    }

    #[test]
    fn a_child_whose_gate_closes_runs_nothing() {
        let shell = program(&["sh", "-c", "exit 7"]).unwrap();
        let mut child = Child::prepare(&shell, None).unwrap();
        child.gate = None;
        assert_eq!(child.wait().unwrap(), Ending::Exited(0));
    }

    #[test]
    fn a_signal_is_an_exit_code_as_in_shells() {
        assert_eq!(Ending::Signalled(9).exit_code(), 137);
    }
}
