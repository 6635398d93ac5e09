/* SPDX-License-Identifier: Apache-2.0 */
#include "common/agent.h"

#include <string.h>
#include <sys/un.h>

#define LIBVIRT "libvirt:"

const char *agent_domain(const char *agent)
{
	size_t n = strlen(LIBVIRT);

	return strncmp(agent, LIBVIRT, n) == 0 ? agent + n : NULL;
}

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

/* virsh takes a number for a domain's passing id, and a dash for an option. */
static int check_domain(const char *domain, struct err *err)
{
	if (!*domain || *domain == '-' || *domain == '/')
		return err_set(err, -RP_EPARAM,
			       "'agent': '%s' is no domain's name", domain);
	if (domain[strspn(domain, "0123456789")] == '\0')
		return err_set(err, -RP_EPARAM,
			       "'agent': '%s' could be a domain's name or its "
			       "passing id: give its UUID",
			       domain);
	return 0;
}

int agent_check(const char *agent, struct err *err)
{
	const char *domain = agent_domain(agent);

	if (!*agent)
		return 0;
	if (strlen(agent) >= AGENT_BYTES || !is_printable(agent))
		return err_set(err, -RP_EPARAM,
			       "'agent': at most %d bytes, without control "
			       "characters",
			       AGENT_BYTES - 1);
	if (domain)
		return check_domain(domain, err);
	if (*agent != '/')
		return err_set(err, -RP_EPARAM,
			       "'agent': neither the absolute path of a socket "
			       "nor libvirt:DOMAIN: '%s'",
			       agent);
	if (strlen(agent) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_set(err, -RP_EPARAM,
			       "'agent': the path of a socket has at most %zu "
			       "bytes",
			       sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	return 0;
}
