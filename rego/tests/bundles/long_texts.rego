# A policy whose texts end just beyond the memory that its module declares.
package guard

# METADATA
# scope: document
# entrypoint: true
allowed := {"allow": true, "obligations": {}} if input.user.roles.admin == 1

# METADATA
# scope: document
# entrypoint: true
decision := {"allow": count(deny) == 0, "deny": deny, "checks": [], "obligations": {}}

deny contains {"code": "role_missing", "message": "only an administrator may"} if not input.user.roles.admin == 1

# METADATA
# scope: document
# entrypoint: true
checks := {"actions": {action: {"everything": 1} | some action in actions}, "capabilities": null}

actions := [
	"prune_runs", "resume_runs", "verify_audit", "prune_audit", "check_store", "back_up_store", "apply_definitions", "apply_policy", "restore_store", "restore_store", "manage_keys",
	"invoke", "start_run", "start_team", "resume_run", "cancel_run", "approve_step", "reject_step",
	"context_read", "context_write", "memory_read", "memory_write", "memory_forget", "memory_ingest", "forget_memories", "call_tool", "query_catalogue", "query_runs", "query_audit", "query_costs",
]

deny contains {"code": "case_000", "message": "the case 000 of this policy denies what its text describes at length"} if input.resource == "case_000"

deny contains {"code": "case_001", "message": "the case 001 of this policy denies what its text describes at length"} if input.resource == "case_001"

deny contains {"code": "case_002", "message": "the case 002 of this policy denies what its text describes at length"} if input.resource == "case_002"

deny contains {"code": "case_003", "message": "the case 003 of this policy denies what its text describes at length"} if input.resource == "case_003"

deny contains {"code": "case_004", "message": "the case 004 of this policy denies what its text describes at length"} if input.resource == "case_004"

deny contains {"code": "case_005", "message": "the case 005 of this policy denies what its text describes at length"} if input.resource == "case_005"

deny contains {"code": "case_006", "message": "the case 006 of this policy denies what its text describes at length"} if input.resource == "case_006"

deny contains {"code": "case_007", "message": "the case 007 of this policy denies what its text describes at length"} if input.resource == "case_007"

deny contains {"code": "case_008", "message": "the case 008 of this policy denies what its text describes at length"} if input.resource == "case_008"

deny contains {"code": "case_009", "message": "the case 009 of this policy denies what its text describes at length"} if input.resource == "case_009"

deny contains {"code": "case_010", "message": "the case 010 of this policy denies what its text describes at length"} if input.resource == "case_010"

deny contains {"code": "case_011", "message": "the case 011 of this policy denies what its text describes at length"} if input.resource == "case_011"

deny contains {"code": "case_012", "message": "the case 012 of this policy denies what its text describes at length"} if input.resource == "case_012"

deny contains {"code": "case_013", "message": "the case 013 of this policy denies what its text describes at length"} if input.resource == "case_013"

deny contains {"code": "case_014", "message": "the case 014 of this policy denies what its text describes at length"} if input.resource == "case_014"

deny contains {"code": "case_015", "message": "the case 015 of this policy denies what its text describes at length"} if input.resource == "case_015"

deny contains {"code": "case_016", "message": "the case 016 of this policy denies what its text describes at length"} if input.resource == "case_016"

deny contains {"code": "case_017", "message": "the case 017 of this policy denies what its text describes at length"} if input.resource == "case_017"

deny contains {"code": "case_018", "message": "the case 018 of this policy denies what its text describes at length"} if input.resource == "case_018"

deny contains {"code": "case_019", "message": "the case 019 of this policy denies what its text describes at length"} if input.resource == "case_019"

deny contains {"code": "case_020", "message": "the case 020 of this policy denies what its text describes at length"} if input.resource == "case_020"

deny contains {"code": "case_021", "message": "the case 021 of this policy denies what its text describes at length"} if input.resource == "case_021"

deny contains {"code": "case_022", "message": "the case 022 of this policy denies what its text describes at length"} if input.resource == "case_022"

deny contains {"code": "case_023", "message": "the case 023 of this policy denies what its text describes at length"} if input.resource == "case_023"

deny contains {"code": "case_024", "message": "the case 024 of this policy denies what its text describes at length"} if input.resource == "case_024"

deny contains {"code": "case_025", "message": "the case 025 of this policy denies what its text describes at length"} if input.resource == "case_025"

deny contains {"code": "case_026", "message": "the case 026 of this policy denies what its text describes at length"} if input.resource == "case_026"

deny contains {"code": "case_027", "message": "the case 027 of this policy denies what its text describes at length"} if input.resource == "case_027"

deny contains {"code": "case_028", "message": "the case 028 of this policy denies what its text describes at length"} if input.resource == "case_028"

deny contains {"code": "case_029", "message": "the case 029 of this policy denies what its text describes at length"} if input.resource == "case_029"

deny contains {"code": "case_030", "message": "the case 030 of this policy denies what its text describes at length"} if input.resource == "case_030"

deny contains {"code": "case_031", "message": "the case 031 of this policy denies what its text describes at length"} if input.resource == "case_031"

deny contains {"code": "case_032", "message": "the case 032 of this policy denies what its text describes at length"} if input.resource == "case_032"

deny contains {"code": "case_033", "message": "the case 033 of this policy denies what its text describes at length"} if input.resource == "case_033"

deny contains {"code": "case_034", "message": "the case 034 of this policy denies what its text describes at length"} if input.resource == "case_034"

deny contains {"code": "case_035", "message": "the case 035 of this policy denies what its text describes at length"} if input.resource == "case_035"

deny contains {"code": "case_036", "message": "the case 036 of this policy denies what its text describes at length"} if input.resource == "case_036"

deny contains {"code": "case_037", "message": "the case 037 of this policy denies what its text describes at length"} if input.resource == "case_037"

deny contains {"code": "case_038", "message": "the case 038 of this policy denies what its text describes at length"} if input.resource == "case_038"

deny contains {"code": "case_039", "message": "the case 039 of this policy denies what its text describes at length"} if input.resource == "case_039"

deny contains {"code": "case_040", "message": "the case 040 of this policy denies what its text describes at length"} if input.resource == "case_040"

deny contains {"code": "case_041", "message": "the case 041 of this policy denies what its text describes at length"} if input.resource == "case_041"

deny contains {"code": "case_042", "message": "the case 042 of this policy denies what its text describes at length"} if input.resource == "case_042"

deny contains {"code": "case_043", "message": "the case 043 of this policy denies what its text describes at length"} if input.resource == "case_043"

deny contains {"code": "case_044", "message": "the case 044 of this policy denies what its text describes at length"} if input.resource == "case_044"

deny contains {"code": "case_045", "message": "the case 045 of this policy denies what its text describes at length"} if input.resource == "case_045"

deny contains {"code": "case_046", "message": "the case 046 of this policy denies what its text describes at length"} if input.resource == "case_046"

deny contains {"code": "case_047", "message": "the case 047 of this policy denies what its text describes at length"} if input.resource == "case_047"

deny contains {"code": "case_048", "message": "the case 048 of this policy denies what its text describes at length"} if input.resource == "case_048"

deny contains {"code": "case_049", "message": "the case 049 of this policy denies what its text describes at length"} if input.resource == "case_049"

deny contains {"code": "case_050", "message": "the case 050 of this policy denies what its text describes at length"} if input.resource == "case_050"

deny contains {"code": "case_051", "message": "the case 051 of this policy denies what its text describes at length"} if input.resource == "case_051"

deny contains {"code": "case_052", "message": "the case 052 of this policy denies what its text describes at length"} if input.resource == "case_052"

deny contains {"code": "case_053", "message": "the case 053 of this policy denies what its text describes at length"} if input.resource == "case_053"

deny contains {"code": "case_054", "message": "the case 054 of this policy denies what its text describes at length"} if input.resource == "case_054"

deny contains {"code": "case_055", "message": "the case 055 of this policy denies what its text describes at length"} if input.resource == "case_055"

deny contains {"code": "case_056", "message": "the case 056 of this policy denies what its text describes at length"} if input.resource == "case_056"

deny contains {"code": "case_057", "message": "the case 057 of this policy denies what its text describes at length"} if input.resource == "case_057"

deny contains {"code": "case_058", "message": "the case 058 of this policy denies what its text describes at length"} if input.resource == "case_058"

deny contains {"code": "case_059", "message": "the case 059 of this policy denies what its text describes at length"} if input.resource == "case_059"

deny contains {"code": "case_060", "message": "the case 060 of this policy denies what its text describes at length"} if input.resource == "case_060"

deny contains {"code": "case_061", "message": "the case 061 of this policy denies what its text describes at length"} if input.resource == "case_061"

deny contains {"code": "case_062", "message": "the case 062 of this policy denies what its text describes at length"} if input.resource == "case_062"

deny contains {"code": "case_063", "message": "the case 063 of this policy denies what its text describes at length"} if input.resource == "case_063"

deny contains {"code": "case_064", "message": "the case 064 of this policy denies what its text describes at length"} if input.resource == "case_064"

deny contains {"code": "case_065", "message": "the case 065 of this policy denies what its text describes at length"} if input.resource == "case_065"

deny contains {"code": "case_066", "message": "the case 066 of this policy denies what its text describes at length"} if input.resource == "case_066"

deny contains {"code": "case_067", "message": "the case 067 of this policy denies what its text describes at length"} if input.resource == "case_067"

deny contains {"code": "case_068", "message": "the case 068 of this policy denies what its text describes at length"} if input.resource == "case_068"

deny contains {"code": "case_069", "message": "the case 069 of this policy denies what its text describes at length"} if input.resource == "case_069"

deny contains {"code": "case_070", "message": "the case 070 of this policy denies what its text describes at length"} if input.resource == "case_070"

deny contains {"code": "case_071", "message": "the case 071 of this policy denies what its text describes at length"} if input.resource == "case_071"

deny contains {"code": "case_072", "message": "the case 072 of this policy denies what its text describes at length"} if input.resource == "case_072"

deny contains {"code": "case_073", "message": "the case 073 of this policy denies what its text describes at length"} if input.resource == "case_073"

deny contains {"code": "case_074", "message": "the case 074 of this policy denies what its text describes at length"} if input.resource == "case_074"

deny contains {"code": "case_075", "message": "the case 075 of this policy denies what its text describes at length"} if input.resource == "case_075"

deny contains {"code": "case_076", "message": "the case 076 of this policy denies what its text describes at length"} if input.resource == "case_076"

deny contains {"code": "case_077", "message": "the case 077 of this policy denies what its text describes at length"} if input.resource == "case_077"

deny contains {"code": "case_078", "message": "the case 078 of this policy denies what its text describes at length"} if input.resource == "case_078"

deny contains {"code": "case_079", "message": "the case 079 of this policy denies what its text describes at length"} if input.resource == "case_079"

deny contains {"code": "case_080", "message": "the case 080 of this policy denies what its text describes at length"} if input.resource == "case_080"

deny contains {"code": "case_081", "message": "the case 081 of this policy denies what its text describes at length"} if input.resource == "case_081"

deny contains {"code": "case_082", "message": "the case 082 of this policy denies what its text describes at length"} if input.resource == "case_082"

deny contains {"code": "case_083", "message": "the case 083 of this policy denies what its text describes at length"} if input.resource == "case_083"

deny contains {"code": "case_084", "message": "the case 084 of this policy denies what its text describes at length"} if input.resource == "case_084"

deny contains {"code": "case_085", "message": "the case 085 of this policy denies what its text describes at length"} if input.resource == "case_085"

deny contains {"code": "case_086", "message": "the case 086 of this policy denies what its text describes at length"} if input.resource == "case_086"

deny contains {"code": "case_087", "message": "the case 087 of this policy denies what its text describes at length"} if input.resource == "case_087"

deny contains {"code": "case_088", "message": "the case 088 of this policy denies what its text describes at length"} if input.resource == "case_088"

deny contains {"code": "case_089", "message": "the case 089 of this policy denies what its text describes at length"} if input.resource == "case_089"

deny contains {"code": "case_090", "message": "the case 090 of this policy denies what its text describes at length"} if input.resource == "case_090"

deny contains {"code": "case_091", "message": "the case 091 of this policy denies what its text describes at length"} if input.resource == "case_091"

deny contains {"code": "case_092", "message": "the case 092 of this policy denies what its text describes at length"} if input.resource == "case_092"

deny contains {"code": "case_093", "message": "the case 093 of this policy denies what its text describes at length"} if input.resource == "case_093"

deny contains {"code": "case_094", "message": "the case 094 of this policy denies what its text describes at length"} if input.resource == "case_094"

deny contains {"code": "case_095", "message": "the case 095 of this policy denies what its text describes at length"} if input.resource == "case_095"

deny contains {"code": "case_096", "message": "the case 096 of this policy denies what its text describes at length"} if input.resource == "case_096"

deny contains {"code": "case_097", "message": "the case 097 of this policy denies what its text describes at length"} if input.resource == "case_097"

deny contains {"code": "case_098", "message": "the case 098 of this policy denies what its text describes at length"} if input.resource == "case_098"

deny contains {"code": "case_099", "message": "the case 099 of this policy denies what its text describes at length"} if input.resource == "case_099"

deny contains {"code": "case_100", "message": "the case 100 of this policy denies what its text describes at length"} if input.resource == "case_100"
