/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/status.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

#define NS_ADDRESSING  "http://schemas.xmlsoap.org/ws/2004/08/addressing"
#define NS_ENUMERATION "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
#define NS_WSMAN       "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"

static const struct cim_status rows[] = {
#define X(sym, num, status, cimxml_status, header, soap_status, soap_code,     \
	  subcode_name, detail_name, windows_code)                             \
	{.code = CIM_##sym,                                                    \
	 .cim = status,                                                        \
	 .cimxml_http = cimxml_status,                                         \
	 .cim_error = header,                                                  \
	 .soap_http = soap_status,                                             \
	 .soap = SOAP_##soap_code,                                             \
	 .subcode = subcode_name,                                              \
	 .detail = detail_name,                                                \
	 .windows = windows_code},
    CIM_ERROR_TABLE(X)
#undef X
};

static const char *const names[] = {
    [1] = "CIM_ERR_FAILED",
    [2] = "CIM_ERR_ACCESS_DENIED",
    [3] = "CIM_ERR_INVALID_NAMESPACE",
    [4] = "CIM_ERR_INVALID_PARAMETER",
    [5] = "CIM_ERR_INVALID_CLASS",
    [6] = "CIM_ERR_NOT_FOUND",
    [7] = "CIM_ERR_NOT_SUPPORTED",
    [8] = "CIM_ERR_CLASS_HAS_CHILDREN",
    [9] = "CIM_ERR_CLASS_HAS_INSTANCES",
    [10] = "CIM_ERR_INVALID_SUPERCLASS",
    [11] = "CIM_ERR_ALREADY_EXISTS",
    [12] = "CIM_ERR_NO_SUCH_PROPERTY",
    [13] = "CIM_ERR_TYPE_MISMATCH",
    [14] = "CIM_ERR_QUERY_LANGUAGE_NOT_SUPPORTED",
    [15] = "CIM_ERR_INVALID_QUERY",
    [16] = "CIM_ERR_METHOD_NOT_AVAILABLE",
    [17] = "CIM_ERR_METHOD_NOT_FOUND",
    [20] = "CIM_ERR_NAMESPACE_NOT_EMPTY",
    [21] = "CIM_ERR_INVALID_ENUMERATION_CONTEXT",
    [22] = "CIM_ERR_INVALID_OPERATION_TIMEOUT",
    [23] = "CIM_ERR_PULL_HAS_BEEN_ABANDONED",
    [24] = "CIM_ERR_PULL_CANNOT_BE_ABANDONED",
    [25] = "CIM_ERR_FILTERED_ENUMERATION_NOT_SUPPORTED",
    [26] = "CIM_ERR_CONTINUATION_ON_ERROR_NOT_SUPPORTED",
    [27] = "CIM_ERR_SERVER_LIMITS_EXCEEDED",
    [28] = "CIM_ERR_SERVER_IS_SHUTTING_DOWN",
};

/* Codes of common/err.h and of the system that say more than "failed". */
static enum cim_error kin(int code)
{
	switch (code) {
	case RP_EPARAM:
	case RP_ETYPE:
	case EINVAL:
		return CIM_EPARAMETER;
	case RP_ENOVM:
	case RP_ENODISK:
	case RP_ENOPOINT:
	case ENOENT:
		return CIM_ENOTFOUND;
	case RP_EALREADY:
	case EEXIST:
		return CIM_EEXISTS;
	case RP_EUNSUPPORTED:
	case EOPNOTSUPP:
		return CIM_ENOTSUPPORTED;
	case RP_EDENIED:
	case EACCES:
	case EPERM:
		return CIM_EACCESS;
	case RP_ETIMEOUT:
	case ETIMEDOUT:
		return CIM_ETIMEDOUT;
	case RP_EINUSE:
	case EBUSY:
		return CIM_EBUSY;
	case RP_ELIMIT:
	case ENOMEM:
		return CIM_ELIMITS;
	case RP_ENOMETHOD:
		return CIM_ENOTAVAILABLE;
	default:
		return CIM_EFAILED;
	}
}

const struct cim_status *cim_status(int code)
{
	enum cim_error ours;

	code = abs(code);
	ours = code > CIM_ERR_BASE ? (enum cim_error)code : kin(code);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].code == ours)
			return &rows[i];
	return &rows[0];
}

const char *cim_status_name(unsigned status)
{
	if (status >= ARRAY_SIZE(names) || !names[status])
		status = 1;
	return names[status];
}

const char *soap_code_name(enum soap_code code)
{
	static const char *const texts[] = {
	    [SOAP_SENDER] = "s:Sender",
	    [SOAP_RECEIVER] = "s:Receiver",
	    [SOAP_MUST_UNDERSTAND] = "s:MustUnderstand",
	    [SOAP_VERSION_MISMATCH] = "s:VersionMismatch",
	};

	return texts[code];
}

const char *cim_fault_namespace(const char *subcode)
{
	switch (subcode[0]) {
	case 'a':
		return NS_ADDRESSING;
	case 'n':
		return NS_ENUMERATION;
	default:
		return NS_WSMAN;
	}
}

const char *cim_fault_action(const char *subcode)
{
	switch (subcode ? subcode[0] : 'a') {
	case 'a':
		return NS_ADDRESSING "/fault";
	case 'n':
		return NS_ENUMERATION "/fault";
	default:
		return "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault";
	}
}
