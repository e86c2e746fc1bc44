use super::*;

fn read(words: &[&str]) -> Result<Cli, CommandLine> {
    let cli = Cli::try_parse_from([&["memleak"], words].concat())?;
    cli.check().map_err(CommandLine::Bad)?;
    Ok(cli)
}

fn refusal(words: &[&str]) -> String {
    match read(words) {
        Err(CommandLine::Bad(error)) => {
            assert_eq!(error.code(), 2);
            error.to_string()
        }
        other => panic!("{words:?} gave {other:?}"),
    }
}

/// Also where its help differs from that of memleak alone.
#[test]
fn a_recording_has_an_interval() {
    let words = ["memleak", "record", "-o", "x", "-p", "1", "0.5", "3"];
    let read = Invocation::of(words.iter().map(OsString::from).collect());
    let Ok(Invocation::Record(cli)) = read else {
        panic!("{read:?}");
    };
    assert_eq!(cli.interval, Some(Duration::from_millis(500)));
    assert_eq!(cli.count, Some(3));
}

#[test]
fn bcc_command_lines_run_unchanged() {
    for line in [
        "-p 7",
        "-p 7 -t",
        "-p 7 -a -o 60000",
        "-p 7 -s 5 -T 20 10 3",
        "-p 7 -z 16 -Z 32",
        "-p 7 -O libc -S je_",
        "-p 7 -C",
        "-p 7 --combined-only --sort count",
        "-p 7 --top 5",
        "-p 7 -F",
        "-P 5 2",
        "-C -F 10",
        "-a --percpu",
        "--wa-missing-free -T 20 -o 60000",
        "-p 7 --sort size",
        "-p 7 --perf-max-stack-depth 64 --stack-storage-size 20480 5",
        "--pid 7 --trace --show-allocs --older 1000 --sample-rate 10 --min-size 1 --max-size 9",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(read(&words).is_ok(), "{line}: {:?}", read(&words));
    }
    let cli = read(&["-c", "allocate 5 now"]).unwrap();
    let words = ["allocate", "5", "now"].map(OsString::from).to_vec();
    assert_eq!(cli.subject().unwrap(), Subject::Command(words));
}

#[test]
fn without_a_process_it_is_the_kernels_memory() {
    let all = Allocators {
        slab: true,
        pages: true,
        percpu: true,
        vmalloc: true,
    };
    assert_eq!(read(&[]).unwrap().subject().unwrap(), Subject::Kernel(all));
    let chosen = read(&["--slab", "-P"]).unwrap().subject().unwrap();
    let some = Allocators {
        pages: false,
        vmalloc: false,
        ..all
    };
    assert_eq!(chosen, Subject::Kernel(some));
}

#[test]
fn a_command_takes_its_own_flags() {
    let cli = read(&["5", "2", "--", "prog", "-p", "--json"]).unwrap();
    assert_eq!(cli.count, Some(2));
    let words = ["prog", "-p", "--json"].map(OsString::from).to_vec();
    assert_eq!(cli.subject().unwrap(), Subject::Command(words));
    assert_eq!(read(&["--", "prog"]).unwrap().report_interval(), None);
    assert!(read(&["-c", "prog"]).unwrap().report_interval().is_some());
}

#[test]
fn bad_input_is_one_line_with_a_remedy() {
    for words in [
        &["-p", "0"][..],
        &["-p", "-5"],
        &["-p", "abc"],
        &["-p", "7", "0"],
        &["-p", "7", "-1"],
        &["-p", "7", "nan"],
        &["-p", "7", "1", "0"],
        &["-p", "7", "-z", "9", "-Z", "3"],
        &["-p", "7", "-s", "0"],
        &["-p", "7", "-z", "1X"],
        &["-p", "7", "-T", "x"],
        &["-p", "7", "--max-overhead", "0"],
        &["-p", "7", "--perf-max-stack-depth", "128"],
        &["-p", "7", "--no-such-flag"],
        &["-p", "7", "-P"],
        &["--slab", "--", "x"],
        &["--by", "comm", "-p", "7"],
        &["-O", "libc"],
        &["--explain"],
        &["-c", ""],
        &["-p", "7", "--user", "x"],
        &["-p", "7", "--", "x"],
        &["-p", "7", "-a", "-C"],
        &["-p", "7", "-T", "0"],
    ] {
        let line = refusal(words);
        assert!(
            !line.contains('\n') && !line.is_empty(),
            "{words:?}: {line}"
        );
    }
}

fn invoked(line: &str) -> Result<Invocation, CommandLine> {
    Invocation::of(line.split(' ').map(OsString::from).collect())
}

#[test]
fn record_names_its_file_with_o() {
    let Ok(Invocation::Record(cli)) = invoked("memleak record -o f.leak --older 9 -p 7 2") else {
        panic!("no record");
    };
    assert_eq!(cli.output, Some("f.leak".into()));
    assert_eq!((cli.older, cli.pid), (9, vec![7]));
    assert!(invoked("memleak record -p 7").is_err());
    let Ok(Invocation::Record(cli)) = invoked("memleak record -o f 2 9 -- ls -l") else {
        panic!("no record");
    };
    let subject = Subject::Command(vec!["ls".into(), "-l".into()]);
    assert_eq!(cli.subject().unwrap(), subject);
    assert_eq!(
        (cli.interval, cli.count),
        (Some(Duration::from_secs(2)), Some(9))
    );
    assert!(matches!(
        invoked("memleak -o 9 -p 7"),
        Ok(Invocation::Trace(_))
    ));
}

#[test]
fn several_processes_are_chosen() {
    let subject = |line: &str| match invoked(line) {
        Ok(Invocation::Trace(cli)) => cli.subject().unwrap(),
        _ => panic!("{line}"),
    };
    let pids = |line: &str| match subject(line) {
        Subject::Processes(choice) => (choice.pids, choice.follows),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(subject("memleak -p 7 5"), Subject::Process(7));
    assert_eq!(pids("memleak -p 8 -p 7"), (vec![7, 8], false));
    assert_eq!(pids("memleak -p 8,7,8 5 2"), (vec![7, 8], false));
    assert_eq!(pids("memleak -p 7 --follow"), (vec![7], true));
    assert_eq!(pids("memleak --comm x --cgroup y"), (vec![], false));
    assert!(matches!(
        subject("memleak --follow -- make"),
        Subject::Command(_)
    ));
    for line in [
        "memleak --follow",
        "memleak --comm x -p 7",
        "memleak --cgroup x -- ls",
        "memleak -p 7,x",
        "memleak -p 7 -p 8 --explain",
        "memleak --comm x --slab",
    ] {
        assert!(matches!(invoked(line), Err(CommandLine::Bad(_))), "{line}");
    }
}

#[test]
fn recordings_are_shown_and_compared() {
    assert!(matches!(
        invoked("memleak show f --at 3 --pprof p"),
        Ok(Invocation::Show(_))
    ));
    assert!(matches!(
        invoked("memleak diff a b@3 --json"),
        Ok(Invocation::Diff(_))
    ));
    for line in [
        "memleak show",
        "memleak diff a",
        "memleak show f --tui --json",
    ] {
        assert!(matches!(invoked(line), Err(CommandLine::Bad(_))), "{line}");
    }
    let page = invoked("memleak record --help");
    assert!(matches!(page, Err(CommandLine::Page(page)) if page.contains("memleak record")));
}
