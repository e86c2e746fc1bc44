use proptest::prelude::*;

use super::*;

fn decode(bytes: &[u8]) -> Vec<Input> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    decoder.take()
}

fn keys(bytes: &[u8]) -> Vec<(KeyCode, KeyModifiers)> {
    let key = |input| match input {
        Input::Key(key) => (key.code, key.modifiers),
        other => panic!("{other:?} is no key"),
    };
    decode(bytes).into_iter().map(key).collect()
}

#[test]
fn characters_and_control_characters() {
    use KeyModifiers as M;
    let got = keys("aGä€\u{1f980}\r\t\x7f\x03\x1a ".as_bytes());
    let plain = |code| (code, M::NONE);
    assert_eq!(
        got,
        [
            plain(KeyCode::Char('a')),
            plain(KeyCode::Char('G')),
            plain(KeyCode::Char('ä')),
            plain(KeyCode::Char('€')),
            plain(KeyCode::Char('\u{1f980}')),
            plain(KeyCode::Enter),
            plain(KeyCode::Tab),
            plain(KeyCode::Backspace),
            (KeyCode::Char('c'), M::CONTROL),
            (KeyCode::Char('z'), M::CONTROL),
            plain(KeyCode::Char(' ')),
        ]
    );
}

#[test]
fn sequences_of_many_terminals() {
    let codes = |bytes| -> Vec<KeyCode> { keys(bytes).iter().map(|(code, _)| *code).collect() };
    assert_eq!(codes(b"\x1b[A\x1bOB"), [KeyCode::Up, KeyCode::Down]);
    assert_eq!(codes(b"\x1b[H\x1b[1~\x1bOH\x1b[7~"), [KeyCode::Home; 4]);
    assert_eq!(codes(b"\x1b[F\x1b[4~\x1b[8~"), [KeyCode::End; 3]);
    assert_eq!(
        codes(b"\x1b[5~\x1b[6~"),
        [KeyCode::PageUp, KeyCode::PageDown]
    );
    assert_eq!(codes(b"\x1bOP\x1b[11~\x1b[[A"), [KeyCode::F(1); 3]);
    assert_eq!(codes(b"\x1b[21~"), [KeyCode::F(10)]);
    assert_eq!(codes(b"\x1b[Z"), [KeyCode::BackTab]);
    assert_eq!(
        keys(b"\x1b[1;5C\x1bx"),
        [
            (KeyCode::Right, KeyModifiers::CONTROL),
            (KeyCode::Char('x'), KeyModifiers::ALT)
        ]
    );
}

#[test]
fn a_lone_escape_is_a_key_when_nothing_follows() {
    let mut decoder = Decoder::default();
    decoder.push(b"\x1b");
    assert!(decoder.is_waiting());
    assert_eq!(decoder.take(), []);
    decoder.finish();
    assert_eq!(decoder.take(), [key(KeyCode::Esc)]);
    assert!(!decoder.is_waiting());
    assert_eq!(keys(b"\x1b\x1b[A")[0].0, KeyCode::Esc);
}

#[test]
fn mouse_events() {
    let event = |kind, column, row| {
        Input::Mouse(MouseEvent {
            kind,
            column,
            row,
            modifiers: KeyModifiers::NONE,
        })
    };
    assert_eq!(
        decode(b"\x1b[<0;1;2M\x1b[<0;1;2m\x1b[<65;300;9M\x1b[<35;5;5M"),
        [
            event(MouseEventKind::Down(MouseButton::Left), 0, 1),
            event(MouseEventKind::Up(MouseButton::Left), 0, 1),
            event(MouseEventKind::ScrollDown, 299, 8),
        ]
    );
    assert_eq!(decode(b"\x1b[M !!"), []);
    assert_eq!(decode(b"\x1b[<0;0;0M"), []);
}

#[test]
fn a_paste_is_text_and_no_keys() {
    let paste = |text: &str| Input::Paste(text.to_owned());
    assert_eq!(
        decode(b"\x1b[200~q\x1b[Arm\r\x1b[201~x"),
        [paste("q\x1b[Arm\r"), key(KeyCode::Char('x'))]
    );
    let huge = [
        b"\x1b[200~".as_slice(),
        &vec![b'a'; PASTE_MAX + 9],
        PASTE_END,
    ]
    .concat();
    assert_eq!(decode(&huge), [paste(&"a".repeat(PASTE_MAX))]);
}

#[test]
fn what_is_not_known_is_dropped() {
    assert_eq!(
        decode(b"\x1b[?1;2c\x1b[99~\x1b[I\xff\xc3\x28"),
        [key(KeyCode::Char('('))]
    );
    assert_eq!(decode(&[b"\x1b[".as_slice(), &[b'1'; 200]].concat()), []);
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_mean_the_same(
        bytes in proptest::collection::vec(
            prop_oneof![Just(ESCAPE), Just(b'['), Just(b'<'), Just(b';'), any::<u8>()],
            0..40,
        ),
        cut in 0_usize..40,
    ) {
        let mut pieces = Decoder::default();
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        pieces.push(first);
        pieces.push(second);
        prop_assert_eq!(pieces.take(), decode(&bytes));
    }
}
