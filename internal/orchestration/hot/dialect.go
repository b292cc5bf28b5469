package hot

import (
	"slices"
	"strings"
)

// The keys that say which language a template is written in.
const (
	keyHOT  = "heat_template_version"
	keyAWS  = "AWSTemplateFormatVersion"
	keyHeat = "HeatTemplateFormatVersion"
)

// Version is one accepted template version. Name and Aliases are "KEY.VERSION", as Heat's API names them.
type Version struct {
	Name    string
	Kind    string // hot or cfn
	Aliases []string
}

// release is a heat_template_version with the release name that stands for it.
type release struct{ date, name string }

// releases lists heat_template_version values, oldest first. Source: the entry points heat.templates of
// Heat Zed.
func releases() []release {
	return []release{
		{"2013-05-23", ""}, {"2014-10-16", ""}, {"2015-04-30", ""}, {"2015-10-15", ""}, {"2016-04-08", ""},
		{"2016-10-14", "newton"}, {"2017-02-24", "ocata"}, {"2017-09-01", "pike"}, {"2018-03-02", "queens"},
		{"2018-08-31", "rocky"}, {"2021-04-16", "wallaby"},
	}
}

// Dates from which the language has something new.
const (
	y13, y14, y15, y15b, y16 = "2013-05-23", "2014-10-16", "2015-04-30", "2015-10-15", "2016-04-08"
	newton, ocata, pike      = "2016-10-14", "2017-02-24", "2017-09-01"
	queens, wallaby          = "2018-03-02", "2021-04-16"
	awsDate, heatDate        = "2010-09-09", "2012-12-12"
)

// Versions returns every accepted template version.
func Versions() []Version {
	out := []Version{{Name: keyHeat + "." + heatDate, Kind: "cfn"}, {Name: keyAWS + "." + awsDate, Kind: "cfn"}}
	for _, r := range releases() {
		v := Version{Name: keyHOT + "." + r.date, Kind: "hot"}
		if r.name != "" {
			v.Aliases = []string{keyHOT + "." + r.name}
		}
		out = append(out, v)
	}
	return out
}

// VersionNames returns every accepted heat_template_version.
func VersionNames() []string {
	var out []string
	for _, r := range releases() {
		out = append(out, r.date)
		if r.name != "" {
			out = append(out, r.name)
		}
	}
	return out
}

// dialect is the language of one template version.
type dialect struct {
	cfn   bool
	date  string
	funcs map[string]*function // in values
	conds map[string]*function // in conditions; empty: the version has none
	gone  map[string]bool      // existed in an older version: an error, not data
	names sections
}

// sections are the keys of a dialect, HOT's name first.
type sections struct{ description, groups, parameters, conditions, resources, outputs, mappings string }

// dialectOf returns the language of a version; ok is false if there is no such version.
func dialectOf(key, version string) (*dialect, bool) {
	switch {
	case key == keyAWS && version == awsDate, key == keyHeat && version == heatDate:
		d := newDialect(cfnTable(), version)
		d.cfn, d.gone = true, nil
		d.names = sections{"Description", "", "Parameters", "Conditions", "Resources", "Outputs", "Mappings"}
		return d, true
	case key == keyHOT:
		for _, r := range releases() {
			if version == r.date || version == r.name && r.name != "" {
				d := newDialect(hotTable(), r.date)
				d.names = sections{"description", "parameter_groups", "parameters", "conditions", "resources", "outputs", ""}
				return d, true
			}
		}
	}
	return nil, false
}

func newDialect(table []functionRow, date string) *dialect {
	d := &dialect{date: date, funcs: map[string]*function{}, conds: map[string]*function{}, gone: map[string]bool{}}
	for i := range table {
		row := &table[i]
		switch {
		case date < row.since:
		case row.until != "" && date >= row.until:
			if row.place&inValue != 0 && d.funcs[row.fn.name] == nil {
				d.gone[row.fn.name] = true
			}
		default:
			if row.place&inValue != 0 {
				d.funcs[row.fn.name] = &row.fn
				delete(d.gone, row.fn.name)
			}
			if row.place&inCondition != 0 {
				d.conds[row.fn.name] = &row.fn
			}
		}
	}
	return d
}

// hasConditions tells whether the version knows conditions.
func (d *dialect) hasConditions() bool { return len(d.conds) > 0 }

// place says where a function may stand.
type place uint8

const (
	inValue place = 1 << iota
	inCondition
)

// functionRow says in which versions a function exists (since inclusive, until exclusive) and where.
type functionRow struct {
	fn           function
	since, until string
	place        place
}

// hotTable is the contents page of HOT. A name may have several rows, one an age. Source of the versions:
// the function tables of Heat Zed, recorded in testdata/oracle/versions.json.
func hotTable() []functionRow {
	const both = inValue | inCondition
	return append(legacyTable(), []functionRow{
		{function{name: "get_param", role: roleParam, lazy: evalGetParam}, y13, newton, inValue},
		{function{name: "get_param", role: roleParam, lazy: evalGetParam}, newton, "", both},
		{function{name: "get_resource", role: roleResource, lazy: evalGetResource}, y13, "", inValue},
		{function{name: "get_attr", role: roleAttr, check: checkGetAttr(2), lazy: evalGetAttr}, y13, y15b, inValue},
		{function{name: "get_attr", role: roleAttr, check: checkGetAttr(1), lazy: evalGetAttr}, y15b, "", inValue},
		{function{name: "get_file", role: roleFile, eval: evalGetFile}, y13, "", inValue},
		{function{name: "str_replace", check: checkReplace, eval: evalStrReplace(replaceRules{plain: true})}, y13, y15b, inValue},
		{function{name: "str_replace", check: checkReplace, eval: evalStrReplace(replaceRules{})}, y15b, "", inValue},
		{function{name: "list_join", check: checkList(2, 2), eval: evalJoin(joinRules{null: true})}, y13, y15b, inValue},
		{function{name: "list_join", check: checkList(2, 0), eval: evalJoin(joinRules{containers: true, null: true, empty: true})}, y15b, "", inValue},
		{function{name: "resource_facade", check: checkOneOf("metadata", "deletion_policy", "update_policy"), eval: evalFacade}, y13, "", inValue},
		{function{name: "repeat", check: checkRepeat(false), lazy: evalRepeat(repeatRules{})}, y15, newton, inValue},
		{function{name: "repeat", check: checkRepeat(false), lazy: evalRepeat(repeatRules{maps: true})}, newton, pike, inValue},
		{function{name: "repeat", check: checkRepeat(true), lazy: evalRepeat(repeatRules{maps: true, permutations: true})}, pike, "", inValue},
		{function{name: "digest", eval: evalDigest}, y15, "", inValue},
		{function{name: "str_split", check: checkList(0, 0), eval: evalStrSplit}, y15b, "", inValue},
		{function{name: "map_merge", eval: evalMapMerge}, y16, "", inValue},
		{function{name: "map_replace", eval: evalMapReplace}, newton, "", inValue},
		{function{name: "yaql", check: checkYaql, lazy: evalYaql}, newton, pike, inValue},
		{function{name: "yaql", check: checkYaql, lazy: evalYaql}, pike, "", both},
		{function{name: "if", role: roleIf, check: checkList(3, 3), lazy: evalIf}, newton, wallaby, inValue},
		{function{name: "if", role: roleIf, check: checkList(2, 3), lazy: evalIf}, wallaby, "", inValue},
		{function{name: "equals", check: checkList(2, 2), eval: evalEquals}, newton, "", inCondition},
		{function{name: "not", role: roleLogic, check: checkNot, lazy: evalNot}, newton, "", inCondition},
		{function{name: "and", role: roleLogic, check: checkList(2, 0), lazy: evalAndOr(false)}, newton, "", inCondition},
		{function{name: "or", role: roleLogic, check: checkList(2, 0), lazy: evalAndOr(true)}, newton, "", inCondition},
		{function{name: "filter", check: checkList(2, 2), eval: evalFilter}, ocata, "", inValue},
		{function{name: "str_replace_strict", check: checkReplace, eval: evalStrReplace(replaceRules{strict: true})}, ocata, "", inValue},
		{function{name: "str_replace_vstrict", check: checkReplace, eval: evalStrReplace(replaceRules{strict: true, full: true})}, pike, "", inValue},
		{function{name: "make_url", eval: evalMakeURL}, pike, "", inValue},
		{function{name: "list_concat", eval: evalListConcat(false)}, pike, "", inValue},
		{function{name: "list_concat_unique", eval: evalListConcat(true)}, pike, "", inValue},
		{function{name: "contains", check: checkList(2, 2), eval: evalContains}, pike, "", both},
	}...)
}

// legacyTable is what the first versions of HOT share with CloudFormation.
func legacyTable() []functionRow {
	rows := []functionRow{{function{name: "Fn::Select", check: checkList(2, 2), eval: evalSelect}, y13, y15b, inValue}}
	for _, r := range cfnTable() {
		switch r.fn.name {
		case "Ref", "Fn::Join", "Fn::Split", "Fn::Replace", "Fn::Base64", "Fn::MemberListToMap", "Fn::ResourceFacade", "Fn::GetAZs":
			if r.place&inValue != 0 {
				rows = append(rows, functionRow{r.fn, y13, y14, inValue})
			}
		}
	}
	return rows
}

// cfnTable is the contents page of CloudFormation templates as Heat reads them: Fn::Sub, Fn::ImportValue
// and what else AWS added later are data for it.
func cfnTable() []functionRow {
	return []functionRow{
		{function{name: "Ref", role: roleRef, check: checkRef, lazy: evalRef}, awsDate, "", inValue},
		{function{name: "Ref", role: roleParam, check: checkRef, lazy: evalRef}, awsDate, heatDate, inCondition},
		{function{name: "Fn::GetAtt", role: roleAttr, check: checkList(2, 2), lazy: evalGetAttr}, awsDate, "", inValue},
		{function{name: "Fn::FindInMap", check: checkList(3, 3), eval: evalFindInMap}, awsDate, heatDate, inValue | inCondition},
		{function{name: "Fn::FindInMap", check: checkList(3, 3), eval: evalFindInMap}, heatDate, "", inValue},
		{function{name: "Fn::GetAZs", eval: evalGetAZs}, awsDate, "", inValue},
		{function{name: "Fn::Select", check: checkList(2, 2), eval: evalSelect}, awsDate, "", inValue},
		{function{name: "Fn::Join", check: checkList(2, 2), eval: evalJoin(joinRules{null: true})}, awsDate, "", inValue},
		{function{name: "Fn::Split", check: checkList(2, 2), eval: evalFnSplit}, awsDate, "", inValue},
		{function{name: "Fn::Replace", check: checkFnReplace, eval: evalFnReplace}, awsDate, "", inValue},
		{function{name: "Fn::Base64", eval: evalBase64}, awsDate, "", inValue},
		{function{name: "Fn::MemberListToMap", check: checkMemberList, eval: evalMemberList}, awsDate, "", inValue},
		{function{name: "Fn::ResourceFacade", check: checkOneOf("Metadata", "DeletionPolicy", "UpdatePolicy"), eval: evalFacade}, awsDate, "", inValue},
		{function{name: "Fn::If", role: roleIf, check: checkList(3, 3), lazy: evalIf}, awsDate, heatDate, inValue},
		{function{name: "Fn::Equals", check: checkList(2, 2), eval: evalEquals}, awsDate, heatDate, inCondition},
		{function{name: "Fn::Not", role: roleLogic, check: checkList(1, 1), lazy: evalNot}, awsDate, heatDate, inCondition},
		{function{name: "Fn::And", role: roleLogic, check: checkList(2, 0), lazy: evalAndOr(false)}, awsDate, heatDate, inCondition},
		{function{name: "Fn::Or", role: roleLogic, check: checkList(2, 0), lazy: evalAndOr(true)}, awsDate, heatDate, inCondition},
	}
}

// FunctionNames returns the functions of a version, sorted; with those that may stand in conditions only,
// if conditions is set. version is "KEY.VERSION", or a heat_template_version alone. nil: no such version.
func FunctionNames(version string, conditions bool) []string {
	key, v, ok := strings.Cut(version, ".")
	if !ok {
		key, v = keyHOT, version
	}
	d, ok := dialectOf(key, v)
	if !ok {
		return nil
	}
	var out []string
	for name := range d.funcs {
		out = append(out, name)
	}
	if conditions {
		for name := range d.conds {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// FunctionDoc describes a function in one sentence.
func FunctionDoc(name string) string {
	return map[string]string{
		"get_param": "The value of a parameter.", "get_resource": "The id of a resource.", "get_attr": "An attribute of a resource.", "get_file": "A function for including a file inline.",
		"str_replace": "Text with placeholders replaced.", "str_replace_strict": "str_replace that wants every placeholder used.",
		"str_replace_vstrict": "str_replace_strict that refuses empty values.", "list_join": "Lists joined into text.", "resource_facade": "A property of the resource this stack stands for.",
		"repeat": "A template repeated for each value.", "digest": "A hash of a text.", "str_split": "Text split at a delimiter.", "map_merge": "Maps merged, the last wins.",
		"yaql": "A YAQL expression over data.", "map_replace": "A map with keys and values replaced.", "if": "One of two values, by a condition.", "equals": "Whether two values are equal.",
		"not": "The opposite of a condition.", "and": "Whether all conditions hold.", "or": "Whether one condition holds.", "filter": "A list without certain values.",
		"make_url": "A URL from its parts.", "list_concat": "Lists one after the other.", "list_concat_unique": "Lists one after the other, each value once.",
		"contains": "Whether a value is in a list.", "Ref": "The value of a parameter, or the id of a resource.", "Fn::GetAtt": "An attribute of a resource.",
		"Fn::FindInMap": "A value of the Mappings section.", "Fn::GetAZs": "The availability zones.", "Fn::Select": "One item of a list or map.",
		"Fn::Join": "A list joined into text.", "Fn::Split": "Text split at a delimiter.", "Fn::Replace": "Text with placeholders replaced.", "Fn::Base64": "The text itself.",
		"Fn::MemberListToMap": "A map from a list of .member.N.key=value texts.", "Fn::ResourceFacade": "A property of the resource this stack stands for.",
		"Fn::If": "One of two values, by a condition.", "Fn::Equals": "Whether two values are equal.", "Fn::Not": "The opposite of a condition.",
		"Fn::And": "Whether all conditions hold.", "Fn::Or": "Whether one condition holds.",
	}[name]
}
