# Evaluates ../../flake.nix against a nixpkgs of stubs: enough to force every output without the network.
let
  flake = import ../../flake.nix;
  licenses = {
    mit = "MIT";
    asl20 = "Apache-2.0";
  };
  derivation = attrs: attrs // {
    outPath = "/nix/store/${attrs.pname or "shell"}";
    overrideAttrs = f: derivation (attrs // f attrs);
  };
  names = [ "cargo" "cargo-nextest" "clippy" "nginx" "nix" "rustc" "rustfmt" "wrk" "nixfmt-rfc-style" ];
  pkgs = system:
    builtins.listToAttrs (map (name: { inherit name; value = name; }) names) // {
      lib = { inherit licenses; };
      stdenv.hostPlatform.system = system;
      rustPlatform.buildRustPackage = derivation;
      mkShell = derivation;
      formats.toml = _: { type = "toml"; generate = name: value: "/etc/${name}-${builtins.hashString "sha256" (builtins.toJSON value)}"; };
    };
  lib = {
    genAttrs = keys: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) keys);
    mkEnableOption = description: { inherit description; default = false; };
    mkOption = option: option;
    mkIf = condition: value: if condition then value else { };
    optional = condition: value: if condition then [ value ] else [ ];
    types = { package = "package"; bool = "bool"; };
  };
  nixpkgs = {
    inherit lib;
    legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ] pkgs;
  };
  self = outputs // { outPath = "/source"; };
  outputs = flake.outputs { inherit self nixpkgs; };
  module = outputs.nixosModules.default {
    inherit lib;
    pkgs = pkgs "x86_64-linux";
    config.services.tetryx = {
      enable = true;
      package = module.options.services.tetryx.package.default;
      settings.listen = "127.0.0.1:8080";
      openFirewall = true;
    };
  };
in
{
  systems = builtins.attrNames outputs.packages;
  package = outputs.packages.x86_64-linux.default.pname;
  version = outputs.packages.x86_64-linux.default.version;
  shell = outputs.devShells.x86_64-linux.default.packages;
  checks = builtins.mapAttrs (_: check: check.pname) outputs.checks.x86_64-linux;
  formatter = outputs.formatter.x86_64-linux;
  start = module.config.systemd.services.tetryx.serviceConfig.ExecStart;
  ports = module.config.networking.firewall.allowedTCPPorts;
}
