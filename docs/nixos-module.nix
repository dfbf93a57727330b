# NixOS module: one station of a Tetryx network.
#
#   services.tetryx = { enable = true; settings.http.listen = "[::]:8080"; };
#
# `settings` is written as node.toml as it is; docs/operations.md names every key.
self:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.tetryx;
  toml = pkgs.formats.toml { };
  configFile = toml.generate "node.toml" cfg.settings;
in
{
  options.services.tetryx = {
    enable = lib.mkEnableOption "the Tetryx station daemon";

    package = lib.mkOption {
      type = lib.types.package;
      default = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
      description = "The package that provides tetryx-node.";
    };

    settings = lib.mkOption {
      type = toml.type;
      default = { };
      description = "Contents of node.toml.";
    };

    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Open the HTTP port 8080.";
    };
  };

  config = lib.mkIf cfg.enable {
    networking.firewall.allowedTCPPorts = lib.optional cfg.openFirewall 8080;

    systemd.services.tetryx = {
      description = "Tetryx station";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/tetryx-node run --config ${configFile} --data-dir /var/lib/tetryx";
        DynamicUser = true;
        StateDirectory = "tetryx";
        StateDirectoryMode = "0700";
        Restart = "on-failure";
        RestartSec = "2s";
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateTmp = true;
        LimitNOFILE = 65536;
      };
    };
  };
}
