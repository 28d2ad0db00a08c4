# In: `cargo metadata`, and $linked: `NAME VERSION` of what is compiled into the program. Out: CycloneDX 1.5.
# $lock: Cargo.lock as text, which has the checksums; $serial, $time: of this document; $version: of the program.
def purl: "pkg:cargo/\(.name)@\(.version)";
def checksums: [$lock | scan("name = \"([^\"]+)\"\nversion = \"([^\"]+)\"\nsource = \"[^\"]+\"\nchecksum = \"([0-9a-f]+)\"")
  | { key: "\(.[0]) \(.[1])", value: .[2] }] | from_entries;
# older crates write MIT/Apache-2.0
def license: .license | select(.) | gsub(" ?/ ?"; " OR ");

checksums as $checksums
| ($linked | split("\n") | map(select(. != ""))) as $linked
| (.packages | map(. + { key: "\(.name) \(.version)" }) | map(select([.key] | inside($linked)))) as $packages
| ($packages | map({ key: .id, value: purl }) | from_entries) as $refs
| ($packages[] | select(.name == "dormouse")) as $dormouse
| {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    serialNumber: "urn:uuid:\($serial)",
    version: 1,
    metadata: {
      timestamp: $time,
      component: {
        type: "application",
        "bom-ref": ($dormouse | purl),
        name: "dormouse",
        version: $version,
        purl: ($dormouse | purl),
        licenses: [{ expression: ($dormouse | license) }],
      },
    },
    components: [
      $packages[] | select(.name != "dormouse") | {
        type: "library",
        "bom-ref": purl,
        name,
        version,
        purl: purl,
        licenses: [license | { expression: . }],
        hashes: [$checksums[.key] | select(.) | { alg: "SHA-256", content: . }],
      }
    ] | sort_by(."bom-ref"),
    dependencies: [
      .resolve.nodes[] | select($refs[.id]) | {
        ref: $refs[.id],
        dependsOn: [.deps[] | select(any(.dep_kinds[]; .kind != "dev")) | $refs[.pkg] | select(.)] | unique,
      }
    ] | sort_by(.ref),
  }
