//! What frames are called in all the files.

use crate::output::clean;
use crate::stacks::Frame;

/// A name on one line, without control characters, tabs and line separators.
pub fn one_line(text: &str) -> String {
    clean(text).replace(['\t', '\u{2028}', '\u{2029}'], " ")
}

/// The function's name. Where it is unknown `[module]`, and where that is unknown too `0xaddr`.
///
/// The address is the last choice because it differs from run to run: it would split one function into
/// as many names as there are runs and call sites.
pub fn of_frame(frame: &Frame) -> String {
    let symbol = frame.symbol.as_deref().map(one_line).unwrap_or_default();
    if !symbol.trim().is_empty() {
        return symbol;
    }
    let module = one_line(&frame.module);
    if module.trim().is_empty() {
        return format!("{:#x}", frame.addr);
    }
    bracketed(&module)
}

/// The name of the frame that stands for a class at the root of its stacks: `[mmap]`. `None` for
/// the heap, which is what people expect, and where there is but one class.
pub fn of_class(class: &str) -> Option<String> {
    (!class.is_empty() && class != "heap").then(|| bracketed(&one_line(class)))
}

/// The name of a stack without frames.
pub const NO_FRAMES: &str = "[unknown]";

fn bracketed(name: &str) -> String {
    // Such as [vdso], which the kernel already writes so.
    if name.starts_with('[') && name.ends_with(']') {
        return name.to_owned();
    }
    format!("[{name}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(symbol: Option<&str>, module: &str) -> Frame {
        Frame {
            addr: 0x1234,
            symbol: symbol.map(str::to_owned),
            module: module.to_owned(),
            ..Frame::default()
        }
    }

    #[test]
    fn the_best_name_that_is_known() {
        assert_eq!(of_frame(&frame(Some("main"), "app")), "main");
        assert_eq!(of_frame(&frame(None, "libc.so.6")), "[libc.so.6]");
        assert_eq!(of_frame(&frame(Some(""), "[vdso]")), "[vdso]");
        assert_eq!(of_frame(&frame(None, "")), "0x1234");
        assert_eq!(of_frame(&frame(Some("a\nb\tc"), "")), "a\\u{a}b c");
    }

    #[test]
    fn classes_other_than_the_heap_have_a_frame() {
        assert_eq!(of_class("mmap").as_deref(), Some("[mmap]"));
        assert_eq!(of_class("heap"), None);
        assert_eq!(of_class(""), None);
    }
}
