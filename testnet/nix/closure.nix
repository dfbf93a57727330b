# What the end-to-end tests push: made by real derivations, from this machine's own tools and nothing else.
# `nix-build closure.nix -A all` gives a closure of more than 40 paths.
let
  make = name: script: extra:
    derivation ({
      inherit name;
      system = builtins.currentSystem;
      builder = "/bin/sh";
      args = [ "-euc" script ];
      PATH = "/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin";
    } // extra);

  numbers = builtins.genList (n: n + 1);

  # A chain with diamonds: each library refers to the two before it. A list, so that each is evaluated once.
  library = n: builtins.elemAt libraries (n - 1);
  libraries = map (n:
    let before = builtins.filter (m: m > 0) [ (n - 1) (n - 2) ];
    in make "library-${toString n}" ''
      mkdir -p $out/lib $out/include
      seq ${toString (n * 10000)} ${toString (n * 10000 + n * 997)} > $out/lib/lib${toString n}.txt
      echo "$needs" > $out/lib/needs
      echo "#define N ${toString n}" > $out/include/n.h
    '' { needs = map library before; }) (builtins.genList (n: n + 1) 24);

  symlinks = make "symlinks" ''
    mkdir -p $out/a/b
    echo here > $out/a/file
    ln -s file $out/a/relative
    ln -s ../../a/file $out/a/b/upwards
    ln -s ${library 3}/lib/lib3.txt $out/absolute
    ln -s nowhere/at/all $out/dangling
    ln -s a $out/to-folder
    ln -s . $out/to-itself
  '' { };

  # The store path itself is a link.
  link = make "link" "ln -s ${library 5} $out" { };

  # The store path itself is an executable file.
  executable = make "executable" ''
    printf '#!/bin/sh\necho it runs\n' > $out
    chmod +x $out
  '' { };

  modes = make "modes" ''
    mkdir -p $out/bin
    for mode in 700 755 644 600 444 555; do
      echo $mode > $out/bin/$mode
      chmod $mode $out/bin/$mode
    done
  '' { };

  # The smallest NARs there are. Nix knows no NAR of zero bytes: these are the empty ones.
  empty-file = make "empty-file" ": > $out" { };
  empty-folder = make "empty-folder" "mkdir $out" { };

  hollow = make "hollow" ''
    mkdir -p $out/empty/nested/deeper $out/more
    : > $out/empty-file
    : > $out/more/another
    for n in $(seq 1 40); do mkdir $out/more/$n; done
  '' { };

  odd = make "odd+name_1.2-3?=x" ''
    mkdir -p $out "$out/with space" "$out/snowman ☃" "$out/Case" "$out/case"
    echo 1 > "$out/ leading"
    echo 2 > "$out/trailing "
    echo 3 > "$out/-dash"
    echo 4 > "$out/quote\"and'apostrophe"
    echo 5 > "$out/back\\slash"
    echo 6 > "$out/new
    line"
    echo 7 > "$out/percent%20"
    echo 8 > "$out/star*?[x]"
    echo 9 > "$out/~tilde"
    echo 10 > "$out/$(printf 'not-utf8-\377')"
    echo 11 > "$out/$(printf '%0255d' 0)"
    echo 12 > "$out/.hidden"
    echo 13 > "$out/Case/same"
    echo 14 > "$out/case/same"
  '' { };

  # Its own path is among what it refers to.
  selfish = make "selfish" ''
    mkdir -p $out/bin
    printf '#!/bin/sh\ncat %s/share/words\n' $out > $out/bin/words
    chmod +x $out/bin/words
    mkdir $out/share
    seq 1 20000 > $out/share/words
    ln -s $out/bin/words $out/words
  '' { };

  # Three paths of one derivation, referring to each other.
  split = make "split-1.0" ''
    mkdir -p $out/bin $dev/include $doc/share
    echo "see $doc" > $out/bin/split
    echo "$out" > $dev/include/split.h
    seq 1 3000 > $doc/share/manual
  '' { outputs = [ "out" "dev" "doc" ]; };

  # More than 300 MiB in one NAR, of which 24 MiB do not compress.
  big = make "big" ''
    mkdir $out
    seq 1 36000000 | head -c 310000000 > $out/numbers
    head -c 25165824 /dev/urandom > $out/noise
  '' { };

  many = make "many-small-files" ''
    mkdir $out
    cd $out
    for d in $(seq 1 40); do
      mkdir $d
      for f in $(seq 1 50); do echo "file $f of folder $d" > $d/$f; done
    done
  '' { };

  # Content addressed: by its flat hash, by its text, by its NAR.
  fixed = make "fixed" "printf fixed > $out" {
    outputHashMode = "flat";
    outputHashAlgo = "sha256";
    outputHash = builtins.hashString "sha256" "fixed";
  };
  text = builtins.toFile "text" "a text that refers to nothing\n";
  source = builtins.path { path = ./closure.nix; name = "source"; };

  long-name = make (builtins.substring 0 207
    (builtins.concatStringsSep "-" ([ "long" ] ++ map toString (numbers 100)))) "echo long > $out" { };

  tool = make "tool-1.0" ''
    mkdir -p $out/bin
    printf '#!/bin/sh\necho the tool runs\n' > $out/bin/tool
    chmod +x $out/bin/tool
    echo "$needs" > $out/needs
  '' { needs = libraries ++ [ selfish symlinks ]; };

  all = make "all" ''
    mkdir $out
    echo "$needs" > $out/needs
  '' {
    needs = [
      tool symlinks link executable modes empty-file empty-folder hollow odd selfish split split.dev split.doc
      big many fixed text source long-name
    ];
  };

  # A package of 20 MB that does not compress, and its next version: one word more in the middle, another small file,
  # the rest as it was.
  data = make "data" "head -c 20000000 /dev/urandom > $out" { };
  package = version: word: make "package-${version}" ''
    mkdir -p $out/share
    { head -c 16000000 $data; printf '${word}'; tail -c +16000001 $data; } > $out/share/data
    echo ${version} > $out/version
  '' { inherit data; };

  # Content that no other path has: `n` names the batch, five paths in it, 1 to 2 MiB together.
  # Random: another build of it is other content, which nobody compares.
  batch = n:
    let
      leaf = k: make "leaf-${toString n}-${toString k}" ''
        mkdir $out
        head -c ${toString (150000 + k * 90000)} /dev/urandom > $out/noise
      '' { };
      leaves = map leaf (numbers 4);
    in make "batch-${toString n}" "echo $needs > $out" { needs = leaves; };

in {
  inherit all tool big empty-file empty-folder selfish executable;
  small = library 3;
  package-1 = package "1" "";
  package-2 = package "2" "a word that was not there";
  batches = map batch (numbers 50);
}
