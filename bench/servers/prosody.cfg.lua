-- Debian's modules, less those that throttle (limits) or only administer (invites, admin_*).
daemonize = false
run_as_root = true -- where the benchmark is root; the folder is private either way
pidfile = "${directory}/prosody.pid"
data_path = "${directory}/data"
log = { info = "${directory}/prosody.log" }

network_backend = "epoll"
${tuning}

interfaces = { "${host}" }
local_interfaces = { "${host}" }
c2s_ports = { ${port} }
c2s_direct_tls_ports = { ${direct_tls_port} }
s2s_ports = { ${s2s_port} }
s2s_direct_tls_ports = { }
http_ports = { }
https_ports = { }

ssl = { certificate = "${certificate}"; key = "${key}" }
c2s_direct_tls_ssl = { certificate = "${certificate}"; key = "${key}" }
c2s_require_encryption = false
s2s_require_encryption = false
s2s_secure_auth = false

authentication = "internal_hashed"
allow_registration = true
${storage}

modules_enabled = {
	"disco"; "roster"; "saslauth"; "tls"; "blocklist"; "bookmarks"; "carbons"; "csi_simple"; "dialback"; "pep";
	"ping"; "posix"; "private"; "register"; "smacks"; "time"; "uptime"; "vcard4"; "vcard_legacy"; "version";${module}
}

VirtualHost "${domain}"
${extra}
