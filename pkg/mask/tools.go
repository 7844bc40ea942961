package mask

import (
	"bytes"
	"strings"
)

// tools are options (or words, without a -) by which well-known programs take a
// secret, in the same argument or in the next. A user:password keeps its user.
var tools = map[string][]string{
	"curl":          {"-u", "-U", "--user", "--proxy-user", "-b", "--pass", "--proxy-pass", "-E", "--cert"},
	"mysql":         {"-p"},
	"mysqldump":     {"-p"},
	"mysqladmin":    {"-p"},
	"mysqlimport":   {"-p"},
	"mysqlshow":     {"-p"},
	"mysqlcheck":    {"-p"},
	"mariadb":       {"-p"},
	"mariadb-dump":  {"-p"},
	"mariadb-admin": {"-p"},
	"sshpass":       {"-p"},
	"docker":        {"-p"},
	"podman":        {"-p"},
	"buildah":       {"-p"},
	"skopeo":        {"-p"},
	"nerdctl":       {"-p"},
	"helm":          {"-p"},
	"oc":            {"-p"},
	"az":            {"-p"},
	"redis-cli":     {"-a", "--pass"},
	"ldapsearch":    {"-w"},
	"ldapmodify":    {"-w"},
	"ldapadd":       {"-w"},
	"ldapdelete":    {"-w"},
	"ldapwhoami":    {"-w"},
	"ldappasswd":    {"-w", "-s", "-a"},
	"mosquitto_pub": {"-P"},
	"mosquitto_sub": {"-P"},
	"smbclient":     {"-U"},
	"rpcclient":     {"-U"},
	"lftp":          {"-u"},
	"7z":            {"-p"},
	"7za":           {"-p"},
	"7zz":           {"-p"},
	"rar":           {"-hp", "-p"},
	"unrar":         {"-p"},
	"zip":           {"-P"},
	"unzip":         {"-P"},
	"plink":         {"-pw"},
	"pscp":          {"-pw"},
	"mongo":         {"-p"},
	"mongosh":       {"-p"},
	"mongodump":     {"-p"},
	"mongorestore":  {"-p"},
	"mongoexport":   {"-p"},
	"mongoimport":   {"-p"},
	"cqlsh":         {"-p"},
	"sqlcmd":        {"-P"},
	"bcp":           {"-P"},
	"tsql":          {"-P"},
	"ipmitool":      {"-P"},
	"snmpget":       {"-A", "-X", "-c"},
	"snmpset":       {"-A", "-X", "-c"},
	"snmpwalk":      {"-A", "-X", "-c"},
	"ssh-keygen":    {"-N", "-P"},
	"useradd":       {"-p"},
	"usermod":       {"-p"},
	"gpg":           {"--passphrase"},
	"http":          {"-a"},
	"https":         {"-a"},
	"wget":          {"--user"},
	"xfreerdp":      {"/p:"},
	"openssl":       {"-k", "-K"},
	"nmcli":         {"password", "psk", "wifi-sec.psk", "802-11-wireless-security.psk"},
	"aws":           {"aws_secret_access_key", "aws_session_token"},
	"pdftk":         {"user_pw", "owner_pw", "input_pw"},
}

// attachedOnly are the tools whose option takes a secret only in the same word:
// alone it asks for it, and what follows is something else.
var attachedOnly = map[string]bool{"mysql": true, "mysqldump": true, "mysqladmin": true, "mysqlimport": true,
	"mysqlshow": true, "mysqlcheck": true, "mariadb": true, "mariadb-dump": true, "mariadb-admin": true,
	"7z": true, "7za": true, "7zz": true, "rar": true, "unrar": true}

// loginCommand are the tools whose option takes a secret only behind the word
// login.
var loginCommand = map[string]bool{"docker": true, "podman": true, "buildah": true, "skopeo": true, "nerdctl": true,
	"helm": true, "oc": true, "az": true}

// curlFlags are the options of curl without a value, which may stand before another
// one in the same argument.
const curlFlags = "012346aBfgGiIjJklLMnNOpqRsSvZ#"

// bareURL are tools that take a URL without its scheme.
var bareURL = map[string]bool{"curl": true, "wget": true, "http": true, "https": true}

// base is the last part of a path.
func base(path []byte) []byte { return path[bytes.LastIndexByte(path, '/')+1:] }

// toolOption looks at an argument as one of the tool's own options: next says
// that the secret is the next argument.
func toolOption(tool string, arg []byte) (masked []byte, next, ok bool) {
	for _, opt := range tools[tool] {
		rest, is := bytes.CutPrefix(arg, []byte(opt))
		if !is && tool == "curl" && len(opt) == 2 && len(arg) > 2 && arg[0] == '-' && arg[1] != '-' {
			// Behind options without a value: -sSu.
			if n := len(arg) - len(bytes.TrimLeft(arg[1:], curlFlags)); n > 1 && n < len(arg) && arg[n] == opt[1] {
				opt, rest, is = string(arg[:n+1]), arg[n+1:], true
			}
		}
		switch {
		case !is:
		case len(rest) == 0:
			return arg, !attachedOnly[tool], true
		case opt[0] == '/':
			return append([]byte(opt), Hidden...), false, true
		case opt[0] != '-' || tool == "openssl":
			// Only as a whole.
		case strings.HasPrefix(opt, "--"):
			if value, is := bytes.CutPrefix(rest, []byte{'='}); is {
				return append([]byte(opt+"="), secretValue(tool, value)...), false, true
			}
		default:
			return append([]byte(opt), secretValue(tool, rest)...), false, true
		}
	}
	return nil, false, false
}

// secretValue is what is shown of a secret: the user of user:password, which
// only some programs take.
func secretValue(tool string, value []byte) []byte {
	sep := byte(':')
	switch tool {
	case "curl", "http", "https":
	case "smbclient", "rpcclient":
		sep = '%'
	case "lftp":
		sep = ','
	case "wget":
		return value // its --user is only a name; --password is known by its own
	default:
		return []byte(Hidden)
	}
	if i := bytes.IndexByte(value, sep); i >= 0 {
		return append(append([]byte{}, value[:i+1]...), Hidden...)
	}
	if sep != ':' {
		return value
	}
	return []byte(Hidden)
}
