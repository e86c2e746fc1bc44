//! Archives in the format "newc", which the kernel unpacks into its first file system.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Everything in it belongs to root. Parents have to be written before what is in them.
pub struct Writer<W> {
    out: W,
    entries: u32,
}

/// What stands in front of each entry's name.
#[derive(Default)]
struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    pub fn directory(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        self.entry(path, DIRECTORY | mode, (0, 0), &[])
    }

    pub fn file(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, FILE | mode, (0, 0), content)
    }

    pub fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        self.entry(path, LINK | 0o777, (0, 0), target.as_os_str().as_bytes())
    }

    pub fn device(&mut self, path: &Path, mode: u32, number: (u32, u32)) -> io::Result<()> {
        self.entry(path, CHARACTER_DEVICE | mode, number, &[])
    }

    /// Writes the end mark, without which the kernel takes the archive for a torn one.
    pub fn finish(mut self) -> io::Result<W> {
        let header = Header {
            links: 1,
            ..Header::default()
        };
        self.write(&header, b"TRAILER!!!", &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(
        &mut self,
        path: &Path,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        self.entries += 1;
        let header = Header {
            // Two entries of one number would be hard links to each other.
            inode: self.entries,
            mode,
            links: 1,
            size: u32::try_from(content.len())
                .map_err(|_| io::Error::other("a file of more than 4 GiB does not fit"))?,
            device,
        };
        let path = path.strip_prefix("/").unwrap_or(path);
        self.write(&header, path.as_os_str().as_bytes(), content)
    }

    fn write(&mut self, header: &Header, name: &[u8], content: &[u8]) -> io::Result<()> {
        let Header {
            inode,
            mode,
            links,
            size,
            device: (major, minor),
        } = *header;
        let name_size = name.len() as u32 + 1;
        // Magic, inode, mode, uid, gid, links, mtime, size, the device it is on, the device it is,
        // length of the name, checksum.
        let fields = [
            inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0,
        ];
        let mut head = String::from("070701");
        for field in fields {
            // Writing to a String cannot fail.
            let _ = write!(head, "{field:08x}");
        }
        self.out.write_all(head.as_bytes())?;
        self.out.write_all(name)?;
        self.out.write_all(&[0])?;
        self.pad(head.len() + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..length.wrapping_neg() % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_laid_out_as_the_kernel_reads_it() {
        let mut writer = Writer::new(Vec::new());
        writer.directory(Path::new("/d"), 0o755).unwrap();
        writer.file(Path::new("/d/file"), 0o644, b"hello").unwrap();
        let archive = writer.finish().unwrap();
        assert_eq!(archive.len() % 4, 0);
        assert!(archive.starts_with(b"07070100000001000041ed"));
        // 110 bytes of head and "d\0", then the second entry.
        let second = &archive[112..];
        assert_eq!(&second[..22], b"07070100000002000081a4");
        assert_eq!(&second[54..62], b"00000005");
        assert_eq!(&second[110..118], b"d/file\0\0");
        // Head and name end at 117: padded to 120, where the content begins.
        assert_eq!(&second[120 - 2..][..2], b"\0\0");
        assert_eq!(&second[120..128], b"hello\0\0\0");
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains("TRAILER!!!\0"));
    }

    #[test]
    fn links_and_devices_say_what_they_are() {
        let mut writer = Writer::new(Vec::new());
        writer.link(Path::new("bin"), Path::new("usr/bin")).unwrap();
        writer
            .device(Path::new("dev/console"), 0o600, (5, 1))
            .unwrap();
        let archive = String::from_utf8(writer.finish().unwrap()).unwrap();
        assert!(archive.contains("0000a1ff"));
        assert!(archive.contains("usr/bin"));
        assert!(archive.contains("00002180"));
        assert!(archive.contains("0000000500000001"));
    }
}
