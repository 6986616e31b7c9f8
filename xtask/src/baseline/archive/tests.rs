use super::*;

/// A home with one id under each of `names`.
fn home(names: &[&str]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for name in names {
        for file in FILES {
            write(&home.path().join("auth/hs256").join(name).join(file), format!("{{\"of\":{name:?}}}").as_bytes())
                .unwrap();
        }
    }
    home
}

fn packed(home: &tempfile::TempDir, name: &str) -> Vec<u8> {
    let mut written = Vec::new();
    Packed::of(home.path(), name).unwrap().write(&mut written).unwrap();
    written
}

/// An archive of `entries`, put there byte by byte: the crate would refuse some of the paths.
fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, kind, text) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(text.len() as u64);
        header.set_mode(0o777);
        if !kind.is_file() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        archive.append(&header, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let inside = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    let mut all: Vec<_> = criterion::folders(folder).flat_map(inside).collect();
    all.sort();
    all
}

#[test]
fn what_was_packed_comes_back_in_place_of_what_is_there() {
    let from = home(&["main", "new", "other"]);
    assert_eq!(packed(&from, "main"), packed(&from, "main"), "the same gives the same");
    let to = home(&["main", "other"]);
    let gone = to.path().join("tenant/cached/main");
    write(&gone.join("estimates.json"), b"{}").unwrap();
    write(&to.path().join("auth/hs256/main/benchmark.json"), b"{}").unwrap();
    let read = Packed::read(&*packed(&from, "main")).unwrap();
    assert_eq!((&*read.name, read.ids()), ("main", 1));
    read.put(to.path()).unwrap();
    assert!(!gone.exists(), "a mix of two baselines would be neither");
    assert_eq!(files(to.path()).len(), 10, "{:?}", files(to.path()));
    assert_eq!(fs::read(to.path().join("auth/hs256/main/benchmark.json")).unwrap(), b"{\"of\":\"main\"}");
    assert!(
        criterion::counts(&to.path().join("auth/hs256/main")).is_some(),
        "what was counted is of the same measurement"
    );
    assert_eq!(packed(&to, "main"), packed(&from, "main"));
}

#[test]
fn what_cannot_be_put_leaves_what_was_there() {
    let from = home(&["main"]);
    write(&from.path().join("zone/far/main/estimates.json"), b"{}").unwrap();
    for file in FILES {
        write(&from.path().join("zone/far/main").join(file), b"{}").unwrap();
    }
    let to = home(&["main"]);
    write(&to.path().join("auth/hs256/main/benchmark.json"), b"{}").unwrap();
    fs::write(to.path().join("zone"), "no folder").unwrap();
    let before = files(to.path());
    Packed::read(&*packed(&from, "main")).unwrap().put(to.path()).unwrap_err();
    assert_eq!(files(to.path()), before);
    assert_eq!(fs::read(to.path().join("auth/hs256/main/benchmark.json")).unwrap(), b"{}");
}

#[test]
fn only_what_a_baseline_is_made_of_is_taken() {
    let file = EntryType::Regular;
    let whole = NEEDED.iter().map(|file| format!("auth/hs256/main/{file}")).collect::<Vec<_>>();
    let with = |path: &str, kind: EntryType, text: &str| {
        let good = whole.iter().map(|path| (&**path, file, "{}"));
        Packed::read(&*archive(&good.chain([(path, kind, text)]).collect::<Vec<_>>())).map(|packed| packed.ids())
    };
    assert_eq!(with("auth/hs256/main/counts.json", file, "{}").unwrap(), 1);
    for (path, reason) in [
        ("../../evil.json", "no part of a baseline"),
        ("/etc/cron.d/evil", "no part of a baseline"),
        ("auth/../main/sample.json", "no part of a baseline"),
        ("auth/rs256/../sample.json", "no part of a baseline"),
        ("auth/rs256/main/evil.sh", "no part of a baseline"),
        ("auth/rs256/new/sample.json", "no part of a baseline"),
        ("auth/rs256/main/deep/sample.json", "no part of a baseline"),
        (".git/hooks/main/sample.json", "no part of a baseline"),
        ("baseline-new.json", "no part of a baseline"),
        ("auth/rs256/other/sample.json", "more than one baseline: main and other"),
        ("auth/rs256/main/sample.json", "is missing in it"),
        ("auth/hs256/main/sample.json", "more than once"),
    ] {
        let refused = format!("{:#}", with(path, file, "{}").unwrap_err());
        assert!(refused.contains(reason), "{path}: {refused}");
    }
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Directory, EntryType::Fifo] {
        let refused = format!("{:#}", with("auth/hs256/main/counts.json", kind, "").unwrap_err());
        assert!(refused.contains("no plain file"), "{refused}");
    }
    let counts = "auth/hs256/main/counts.json";
    assert!(format!("{:#}", with(counts, file, "{").unwrap_err()).contains("is broken"));
    let large = " ".repeat(FILE as usize + 1);
    assert!(format!("{:#}", with(counts, file, &large).unwrap_err()).contains("larger"));
    assert!(format!("{:#}", with("baseline-main.json", file, "{\"version\":9}").unwrap_err()).contains("version 9"));
}

#[test]
fn what_is_cut_off_or_no_archive_is_refused() {
    let whole = packed(&home(&["main"]), "main");
    for cut in [0, 1, 20, whole.len() / 2, whole.len() - 1] {
        assert!(Packed::read(&whole[..cut]).is_err(), "{cut} of {}", whole.len());
    }
    let mut flipped = whole.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 1;
    assert!(Packed::read(&*flipped).is_err(), "its checksum is another");
    assert!(Packed::read(&b"no archive at all"[..]).is_err());
    assert!(Packed::read(&*archive(&[])).is_err());
}

#[test]
fn what_was_never_saved_is_not_packed() {
    let refused = Packed::of(home(&["main"]).path(), "other").unwrap_err().to_string();
    assert!(refused.contains("\"other\"") && refused.contains("--save-baseline other"), "{refused}");
}
