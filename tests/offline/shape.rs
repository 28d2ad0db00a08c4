//! The shape of the code: no file imports in a circle, and nothing is too long. Reads text, not Rust, which
//! rustfmt makes good enough.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::docs::rust_files;

const MOST_LINES: usize = 400;
const MOST_LINES_OF_A_FUNCTION: usize = 60;

/// What is longer, as a file or a function in it, and why.
const LONG: [(&str, &str, &str); 4] = [
    ("crates/lab/src/compare/bars.rs", "bars", "a picture, drawn from top to bottom"),
    ("crates/lab/src/compare/plot.rs", "svg", "a picture, drawn from top to bottom"),
    ("crates/lab/src/drill/strangers.rs", "came", "one stranger after another"),
    ("src/config/read.rs", "read", "one arm for each kind of key"),
];

/// By name, without tests, benches and examples.
fn sources() -> Vec<(String, String)> {
    let files = ["src", "crates"].into_iter().flat_map(rust_files);
    files.filter(|(file, _)| file.starts_with("src/") || file.contains("/src/")).collect()
}

/// A file that imports from another imports from none that imports from it, directly or over others. An
/// import counts for the file that defines what is imported: what a `mod.rs` or `lib.rs` merely hands on is
/// no import of its own.
#[test]
fn no_files_import_in_a_circle() {
    let circles = in_circles(&sources());
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn a_circle_is_seen_through_what_hands_on() {
    let file = |name: &str, text: &str| (format!("crates/a/src/{name}.rs"), text.to_owned());
    let mut files = vec![
        file("lib", "pub mod b;\npub mod c;\npub use b::B;\n"),
        file("b/mod", "mod d;\npub use d::B;\n"),
        file("b/d", "use crate::c;\npub struct B;\nfn b() {\n    c::c();\n}\n"),
        file("c", "pub fn c() {}\n#[cfg(test)]\nmod tests {\n    use crate::B;\n}\n"),
    ];
    assert!(in_circles(&files).is_empty(), "a test is in no circle");
    files[3].1 = "use crate::{\n    B,\n};\n".into();
    let import = |from: &str, of: &str, path: &str| Import {
        from: format!("crates/a/src/{from}.rs"),
        of: format!("crates/a/src/{of}.rs"),
        path: path.into(),
    };
    assert_eq!(in_circles(&files), [import("b/d", "c", "c::c"), import("c", "b/d", "crate::B")]);
    files[3].1 = "use super::b::*;\n".into();
    assert!(in_circles(&files).is_empty(), "what merely hands on is in no circle");
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let begin = Regex::new(r"^(\s*)(?:pub(?:\([^)]*\))? )?(?:(?:const|async|unsafe) )*fn (\w+)");
    let begin = begin.unwrap();
    let mut long = Vec::new();
    for (file, text) in
        ["src", "crates", "tests", "benches", "examples"].into_iter().flat_map(rust_files)
    {
        let count = text.lines().count();
        if count > MOST_LINES {
            long.push((file, String::new(), count));
        }
    }
    for (file, text) in sources() {
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let Some(function) = begin.captures(line) else { continue };
            let end = format!("{}}}", &function[1]);
            let is_whole = line.ends_with(['}', ';']);
            let rest = lines[number..].iter().position(|line| is_whole || *line == end);
            let length = rest.unwrap_or_else(|| panic!("{file}: {line}")) + 1;
            if length > MOST_LINES_OF_A_FUNCTION {
                long.push((file.clone(), function[2].to_owned(), length));
            }
        }
    }
    let stands = |file: &str, function: &str| {
        LONG.iter().any(|(known, name, _)| (*known, *name) == (file, function))
    };
    long.retain(|(file, function, _)| !stands(file, function));
    assert!(long.is_empty(), "{long:#?}");
}

/// That a file imports what another defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: String,
    of: String,
    path: String,
}

/// The imports that are part of a circle.
fn in_circles(files: &[(String, String)]) -> Vec<Import> {
    let imports = Workspace::of(files).imports();
    let mut next = BTreeMap::<&str, BTreeSet<&str>>::new();
    for import in &imports {
        next.entry(&import.from).or_default().insert(&import.of);
    }
    let leads_to = |from: &str, to: &str| {
        let (mut seen, mut open) = (BTreeSet::from([from]), vec![from]);
        while let Some(file) = open.pop() {
            let more = next.get(file).into_iter().flatten().copied();
            open.extend(more.filter(|file| seen.insert(*file)));
        }
        seen.contains(to)
    };
    imports.iter().filter(|import| leads_to(&import.of, &import.from)).cloned().collect()
}

/// From the crate on.
type Path = Vec<String>;

struct Module {
    file: String,
    /// Without imports, modules, comments and tests.
    code: String,
    /// What is imported, by the name that it has here, and whether it is handed on.
    names: BTreeMap<String, (Path, bool)>,
}

struct Workspace(BTreeMap<Path, Module>);

impl Workspace {
    fn of(files: &[(String, String)]) -> Self {
        let mut modules = BTreeMap::new();
        for (file, text) in files {
            let (package, inside) = file.split_once("src/").unwrap();
            let name = package.trim_start_matches("crates").trim_matches('/');
            let package =
                if name.is_empty() { "dormouse".into() } else { format!("dormouse_{name}") };
            let inside = inside.trim_end_matches(".rs").split('/');
            let mut path: Path = [&*package].into_iter().chain(inside).map(str::to_owned).collect();
            let last = path.last().unwrap().clone();
            if matches!(&*last, "mod" | "lib" | "main") {
                path.pop();
            }
            // a binary beside a library is imported by nobody
            if last != "main"
                || !files.iter().any(|(other, _)| *other == file.replace("main", "lib"))
            {
                modules.insert(path, Module::of(file, text));
            }
        }
        Self(modules)
    }

    fn imports(&self) -> Vec<Import> {
        let in_line = Regex::new(r"\b((?:[a-z0-9_]+::)+\w+)").unwrap();
        let mut imports = BTreeSet::new();
        for (at, module) in &self.0 {
            let hands_on = ["/mod.rs", "/lib.rs"].iter().any(|end| module.file.ends_with(end));
            let words: BTreeSet<_> =
                module.code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let named = module
                .names
                .iter()
                .filter(|(name, (_, public))| !(hands_on && *public) || words.contains(&***name));
            let named = named.map(|(_, (path, _))| path.clone());
            let in_line = in_line.captures_iter(&module.code);
            let in_line = in_line.map(|hit| hit[1].split("::").map(str::to_owned).collect());
            for path in named.chain(in_line) {
                if let Some(of) = self.defining(at, &path, 8)
                    && of.file != module.file
                {
                    let (from, of) = (module.file.clone(), of.file.clone());
                    imports.insert(Import { from, of, path: path.join("::") });
                }
            }
        }
        imports.into_iter().collect()
    }

    /// The module that defines what `path` means in the module `at`; none for what is no item of this
    /// crate. What is handed on is looked for `deep` times.
    fn defining(&self, at: &[String], path: &[String], deep: usize) -> Option<&Module> {
        let (first, rest) = path.split_first()?;
        let here = self.0.get(at)?;
        let deep = deep.checked_sub(1)?;
        match &**first {
            "crate" => self.item(&at[..1], rest, deep),
            "self" => self.item(at, rest, deep),
            "super" if rest.first().is_some_and(|next| next == "super") => {
                self.defining(&at[..at.len() - 1], rest, deep)
            }
            "super" => self.item(&at[..at.len() - 1], rest, deep),
            _ if self.0.contains_key(&[at, &path[..1]].concat()) => self.item(at, path, deep),
            _ => {
                let (import, _) =
                    here.names.get(first).filter(|(import, _)| import[0] != *first)?;
                self.defining(at, &[&import[..], rest].concat(), deep)
            }
        }
    }

    fn item(&self, at: &[String], path: &[String], deep: usize) -> Option<&Module> {
        let module = self.0.get(at)?;
        let (first, rest) = path.split_first()?;
        let below = [at, &path[..1]].concat();
        if self.0.contains_key(&below) {
            return self.item(&below, rest, deep);
        }
        match module.names.get(first) {
            // a private import is seen from below, too
            Some((import, _)) => self.defining(at, &[&import[..], rest].concat(), deep),
            None => Some(module),
        }
    }
}

impl Module {
    fn of(file: &str, text: &str) -> Self {
        let comment = Regex::new(r"(?m)^\s*//.*$| // .*$").unwrap();
        let import = Regex::new(r"(?ms)^\s*(pub(?:\([^)]*\))? )?use ([^;]+);").unwrap();
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        let code = comment.replace_all(code, "");
        let mut names = BTreeMap::new();
        for hit in import.captures_iter(&code) {
            for path in branches(&hit[2].split_whitespace().collect::<Vec<_>>().join(" ")) {
                let (path, alias) = path.split_once(" as ").unwrap_or((&path, ""));
                let mut path: Path = path.split("::").map(|part| part.trim().to_owned()).collect();
                path.pop_if(|last| *last == "self");
                let name =
                    if alias.is_empty() { path.last().unwrap().clone() } else { alias.into() };
                names.insert(name, (path, hit.get(1).is_some()));
            }
        }
        let module = Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))? )?mod \w+;").unwrap();
        let code = module.replace_all(&import.replace_all(&code, ""), "").into_owned();
        Self { file: file.to_owned(), code, names }
    }
}

/// `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn branches(tree: &str) -> Vec<String> {
    let Some((stem, inside)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let inside = inside.trim().strip_suffix('}').unwrap();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in inside.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| branches(&format!("{}{}", stem.trim(), part.trim()))).collect()
}
