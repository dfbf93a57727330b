{
  description = "Tetryx: a peer-to-peer network of satellite ground stations, and the Nix binary cache it runs on";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forAllSystems = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      manifest = builtins.fromTOML (builtins.readFile ./Cargo.toml);

      tetryx =
        pkgs:
        pkgs.rustPlatform.buildRustPackage {
          pname = "tetryx";
          version = manifest.workspace.package.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          cargoBuildFlags = [
            "--package=tetryx-node"
            "--package=tetryx-cli"
          ];
          # The end-to-end tests start a real Nix, which the build sandbox cannot nest; `checks.tests` runs the rest.
          doCheck = false;
          meta = {
            description = "Nix binary cache and pass network for satellite ground stations";
            license = with pkgs.lib.licenses; [
              mit
              asl20
            ];
            mainProgram = "tetryx-cli";
          };
        };
    in
    {
      packages = forAllSystems (pkgs: {
        default = tetryx pkgs;
      });

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [
            cargo
            cargo-nextest
            clippy
            nginx
            nix
            rustc
            rustfmt
            wrk
          ];
        };
      });

      checks = forAllSystems (pkgs: {
        package = tetryx pkgs;
        tests = (tetryx pkgs).overrideAttrs (_: {
          pname = "tetryx-tests";
          doCheck = true;
          cargoTestFlags = [
            "--workspace"
            "--exclude=tetryx-testnet"
          ];
        });
      });

      nixosModules.default = import ./docs/nixos-module.nix self;

      formatter = forAllSystems (pkgs: pkgs.nixfmt-rfc-style);
    };
}
