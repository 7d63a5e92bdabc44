package luis

import (
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/nlu/finder"
	"github.com/parleyhq/parley/internal/nlu/prebuilt"
)

// understood is a text with every kind of entity; the cake is two UTF-16 units
// and the family one grapheme, five code points and eight units.
func understood() Understanding {
	return Understanding{
		Text:    "🍰 👩‍👩‍👧 two rye for Ann at 5 in Nice",
		Intents: []Intent{{"order", 0.91}, {"None", 0.02}},
		Entities: []Entity{
			{Start: 8, End: 15, Name: "line", Kind: finder.Learned, Score: 0.8, Children: []Entity{
				{Start: 8, End: 11, Name: "line/quantity", Found: &prebuilt.Entity{Kind: prebuilt.Number, Value: prebuilt.Value{Number: 2}}, Kind: finder.Prebuilt},
				{Start: 12, End: 15, Name: "line/item", Kind: finder.List, Names: []string{"rye bread"}},
			}},
			{Start: 20, End: 23, Name: "customer", Role: "guest", Kind: finder.Learned, Score: 0.7},
			{Start: 27, End: 28, Name: "", Kind: finder.Prebuilt, Found: &prebuilt.Entity{Kind: prebuilt.Datetime, Subtype: "time", Value: prebuilt.Value{Times: []prebuilt.Time{
				{Timex: "T05", Value: "05:00:00"}, {Timex: "T17", Value: "17:00:00"},
			}}}},
			{Start: 32, End: 36, Name: "city/to", Kind: finder.Learned, Score: 0.5},
		},
	}
}

func same(t *testing.T, want string, got []byte) {
	t.Helper()
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestResponse(t *testing.T) {
	same(t, `{"query": "🍰 👩‍👩‍👧 two rye for Ann at 5 in Nice", "prediction": {
		"topIntent": "order", "intents": {"order": {"score": 0.91}},
		"entities": {
			"line": [{"quantity": [2], "item": [["rye bread"]]}],
			"guest": ["Ann"],
			"datetimeV2": [{"type": "time", "values": [
				{"timex": "T05", "resolution": [{"value": "05:00:00"}]}, {"timex": "T17", "resolution": [{"value": "17:00:00"}]}]}],
			"city": [{"to": ["Nice"]}]
		}}}`, understood().Response(Request{}))
	same(t, `{"query": "🍰 👩‍👩‍👧 two rye for Ann at 5 in Nice", "prediction": {
		"topIntent": "order", "intents": {"order": {"score": 0.91}, "None": {"score": 0.02}},
		"entities": {
			"line": [{"quantity": [2], "item": [["rye bread"]], "$instance": {
				"quantity": [{"type": "builtin.number", "text": "two", "startIndex": 12, "length": 3, "modelTypeId": 2, "modelType": "Prebuilt Entity Extractor", "recognitionSources": ["model"]}],
				"item": [{"type": "item", "text": "rye", "startIndex": 16, "length": 3, "modelTypeId": 5, "modelType": "List Entity Extractor", "recognitionSources": ["model"]}]}}],
			"guest": ["Ann"],
			"datetimeV2": [{"type": "time", "values": [
				{"timex": "T05", "resolution": [{"value": "05:00:00"}]}, {"timex": "T17", "resolution": [{"value": "17:00:00"}]}]}],
			"city": [{"to": ["Nice"], "$instance": {
				"to": [{"type": "to", "text": "Nice", "startIndex": 36, "length": 4, "score": 0.5, "modelTypeId": 1, "modelType": "Entity Extractor", "recognitionSources": ["model"]}]}}],
			"$instance": {
				"line": [{"type": "line", "text": "two rye", "startIndex": 12, "length": 7, "score": 0.8, "modelTypeId": 1, "modelType": "Entity Extractor", "recognitionSources": ["model"]}],
				"guest": [{"type": "customer", "role": "guest", "text": "Ann", "startIndex": 24, "length": 3, "score": 0.7, "modelTypeId": 1, "modelType": "Entity Extractor", "recognitionSources": ["model"]}],
				"datetimeV2": [{"type": "builtin.datetimeV2.time", "text": "5", "startIndex": 31, "length": 1, "modelTypeId": 2, "modelType": "Prebuilt Entity Extractor", "recognitionSources": ["model"]}],
				"city": [{"type": "city", "text": "Nice", "startIndex": 36, "length": 4, "score": 0.5, "modelTypeId": 1, "modelType": "Entity Extractor", "recognitionSources": ["model"]}]
			}
		}}}`, understood().Response(Request{Verbose: true, AllIntents: true}))
	same(t, `{"query": "x", "prediction": {"topIntent": "None", "intents": {}, "entities": {}}}`, Understanding{Text: "x"}.Response(Request{Verbose: true}))
}

func TestResponseV2(t *testing.T) {
	same(t, `{"query": "🍰 👩‍👩‍👧 two rye for Ann at 5 in Nice", "topScoringIntent": {"intent": "order", "score": 0.91},
		"intents": [{"intent": "order", "score": 0.91}, {"intent": "None", "score": 0.02}],
		"entities": [
			{"entity": "two rye", "type": "line", "startIndex": 12, "endIndex": 18, "score": 0.8},
			{"entity": "two", "type": "builtin.number", "startIndex": 12, "endIndex": 14, "resolution": {"subtype": "integer", "value": "2"}},
			{"entity": "rye", "type": "line::item", "startIndex": 16, "endIndex": 18, "resolution": {"values": ["rye bread"]}},
			{"entity": "ann", "type": "customer", "role": "guest", "startIndex": 24, "endIndex": 26, "score": 0.7},
			{"entity": "5", "type": "builtin.datetimeV2.time", "startIndex": 31, "endIndex": 31, "resolution": {"values": [
				{"timex": "T05", "type": "time", "value": "05:00:00"}, {"timex": "T17", "type": "time", "value": "17:00:00"}]}},
			{"entity": "nice", "type": "city::to", "startIndex": 36, "endIndex": 39, "score": 0.5}],
		"compositeEntities": [{"parentType": "line", "value": "two rye", "children": [{"type": "builtin.number", "value": "two"}, {"type": "line::item", "value": "rye"}]}]
	}`, understood().ResponseV2(Request{AllIntents: true}))
	same(t, `{"query": "x", "topScoringIntent": {"intent": "None", "score": 0}, "entities": []}`, Understanding{Text: "x"}.ResponseV2(Request{AllIntents: true}))
}

// What each kind comes to in the three answers.
func TestPrebuiltValues(t *testing.T) {
	now := time.Date(2026, 3, 4, 10, 30, 0, 0, time.UTC)
	for text, want := range map[string][3]string{
		"twelve":          {`12`, `{"subtype": "integer", "value": "12"}`, `[{"resolutionKind": "NumberResolution", "numberKind": "Integer", "value": 12}]`},
		"2.5":             {`2.5`, `{"subtype": "decimal", "value": "2.5"}`, `[{"resolutionKind": "NumberResolution", "numberKind": "Decimal", "value": 2.5}]`},
		"third":           {`{"offset": 3, "relativeTo": "start"}`, `{"value": "3"}`, `[{"resolutionKind": "OrdinalResolution", "value": "3", "offset": "3", "relativeTo": "Start"}]`},
		"5%":              {`5`, `{"value": "5%"}`, `[{"resolutionKind": "NumberResolution", "numberKind": "Percent", "value": 5}]`},
		"20 euros":        {`{"number": 20, "unit": "Euro"}`, `{"value": "20", "unit": "Euro"}`, `[{"resolutionKind": "CurrencyResolution", "unit": "Euro", "value": 20}]`},
		"ann@example.com": {`"ann@example.com"`, `{"value": "ann@example.com"}`, `null`},
		"2 hours":         {`{"type": "duration", "values": [{"timex": "PT2H", "resolution": [{"value": "7200"}]}]}`, `{"values": [{"timex": "PT2H", "type": "duration", "value": "7200"}]}`, `[{"resolutionKind": "DateTimeResolution", "dateTimeSubKind": "Duration", "timex": "PT2H", "value": "7200"}]`},
		"next week": {
			`{"type": "daterange", "values": [{"timex": "2026-W11", "resolution": [{"start": "2026-03-09", "end": "2026-03-16"}]}]}`,
			`{"values": [{"timex": "2026-W11", "type": "daterange", "start": "2026-03-09", "end": "2026-03-16"}]}`,
			`[{"resolutionKind": "TemporalSpanResolution", "timex": "2026-W11", "begin": "2026-03-09", "end": "2026-03-16"}]`,
		},
	} {
		found := prebuilt.Find(text, now)
		u := Understanding{Text: text, Entities: []Entity{{End: length(text), Name: "x", Kind: finder.Prebuilt, Found: &found[0]}}}
		var v3 struct {
			Prediction struct{ Entities map[string][]json.RawMessage }
		}
		var v2 struct {
			Entities []struct{ Resolution json.RawMessage }
		}
		var clu struct {
			Result struct {
				Prediction struct {
					Entities []struct{ Resolutions json.RawMessage }
				}
			}
		}
		for answer, into := range map[string]any{string(u.Response(Request{})): &v3, string(u.ResponseV2(Request{})): &v2, string(u.Analyze(Analysis{})): &clu} {
			if err := json.Unmarshal([]byte(answer), into); err != nil {
				t.Fatal(err)
			}
		}
		same(t, want[0], v3.Prediction.Entities["x"][0])
		same(t, want[1], v2.Entities[0].Resolution)
		if r := clu.Result.Prediction.Entities[0].Resolutions; r != nil || want[2] != "null" {
			same(t, want[2], r)
		}
	}
}

func TestParseV2(t *testing.T) {
	r, err := ParseV2(url.Values{"q": {"hi"}, "verbose": {"true"}, "timezoneOffset": {"-90"}, "staging": {"true"}, "subscription-key": {"x"}})
	if err != nil || r.Query != "hi" || !r.AllIntents || r.Verbose {
		t.Errorf("%+v, %v", r, err)
	}
	if _, offset := time.Now().In(r.Zone).Zone(); offset != -5400 {
		t.Errorf("the zone is %d s off", offset)
	}
	for _, q := range []url.Values{{}, {"query": {"hi"}}, {"q": {"hi"}, "timezoneOffset": {"x"}}, {"q": {"hi"}, "timezoneOffset": {"NaN"}}, {"q": {"hi"}, "timezoneOffset": {"900"}}} {
		_, err := ParseV2(q)
		refused(t, "v2", err, "BadArgument")
	}
}

func TestAnalyze(t *testing.T) {
	u := understood()
	u.Entities = append(u.Entities[:1:1], u.Entities[2])
	for index, want := range map[string][2]int{"": {4, 23}, "TextElements_v8": {4, 23}, "UnicodeCodePoint": {8, 27}, "Utf16CodeUnit": {12, 31}} {
		a, err := ParseAnalysis([]byte(`{"kind":"Conversation","analysisInput":{"conversationItem":{"id":"1","participantId":"1","text":"x","language":"en"}},"parameters":{"projectName":"p","deploymentName":"d","stringIndexType":"` + index + `"}}`))
		if err != nil {
			t.Fatal(err)
		}
		same(t, strings.NewReplacer("@line", strconv.Itoa(want[0]), "@item", strconv.Itoa(want[0]+4), "@time", strconv.Itoa(want[1])).Replace(`{"kind": "ConversationResult", "result": {
			"query": "🍰 👩‍👩‍👧 two rye for Ann at 5 in Nice", "detectedLanguage": "en", "prediction": {
			"topIntent": "order", "projectKind": "Conversation",
			"intents": [{"category": "order", "confidenceScore": 0.91}, {"category": "None", "confidenceScore": 0.02}],
			"entities": [
				{"category": "line", "text": "two rye", "offset": @line, "length": 7, "confidenceScore": 0.8},
				{"category": "line.quantity", "text": "two", "offset": @line, "length": 3, "confidenceScore": 1,
					"resolutions": [{"resolutionKind": "NumberResolution", "numberKind": "Integer", "value": 2}],
					"extraInformation": [{"extraInformationKind": "EntitySubtype", "value": "quantity.number"}]},
				{"category": "line.item", "text": "rye", "offset": @item, "length": 3, "confidenceScore": 1,
					"extraInformation": [{"extraInformationKind": "ListKey", "key": "rye bread"}]},
				{"category": "datetimeV2", "text": "5", "offset": @time, "length": 1, "confidenceScore": 1,
					"resolutions": [
						{"resolutionKind": "DateTimeResolution", "dateTimeSubKind": "Time", "timex": "T05", "value": "05:00:00"},
						{"resolutionKind": "DateTimeResolution", "dateTimeSubKind": "Time", "timex": "T17", "value": "17:00:00"}],
					"extraInformation": [{"extraInformationKind": "EntitySubtype", "value": "datetime.time"}]}
			]}}}`), u.Analyze(a))
	}
}

func TestGraphemes(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "abc": 3, "e\u0301": 1, "👍🏽": 1, "👩‍👩‍👧": 1, "🇳🇱🇩🇪": 2, "🇳🇱🇩": 2, "\r\n": 1, "a\u200db": 2, "☔️x": 2, "\n\u0301": 2, "한국": 2, "कि": 1,
	} {
		r := newRuler(text, graphemes)
		if _, n := r.span(0, length(text)); n != want {
			t.Errorf("%q has %d, want %d", text, n, want)
		}
	}
}

func TestParseRequests(t *testing.T) {
	q := url.Values{"query": {"hi there"}, "verbose": {"True"}, "show-all-intents": {"true"}, "log": {"1"}, "datetimeReference": {"2026-03-05T14:00:00+01:00"}, "subscription-key": {"x"}}
	r, err := ParseGet(q)
	want := Request{Query: "hi there", Verbose: true, AllIntents: true, Log: true, Reference: time.Date(2026, 3, 5, 13, 0, 0, 0, time.UTC)}
	r.Reference = r.Reference.UTC()
	if err != nil || !cmp.Equal(r, want) {
		t.Errorf("GET: %+v, %v", r, err)
	}
	r, err = ParsePost(url.Values{"verbose": {"false"}, "datetimeReference": {"2020-01-01"}}, []byte(`{
		"query": "🍰 to KL",
		"options": {"datetimeReference": "2026-03-05", "preferExternalEntities": true},
		"externalEntities": [{"entityName": "city", "startIndex": 6, "entityLength": 2, "resolution": {"code": "KUL"}, "score": 0.5}],
		"dynamicLists": [{"listEntityName": "bread", "requestLists": [{"name": "new", "canonicalForm": "spelt", "synonyms": ["dinkel"]}]}]
	}`))
	want = Request{
		Query: "🍰 to KL", Reference: time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC), PreferExternal: true,
		External: []Entity{{Start: 5, End: 7, Name: "city", Kind: finder.External, Score: 0.5, Value: map[string]any{"code": "KUL"}}},
		Lists:    []DynamicList{{"bread", []ListValue{{"new", "spelt", []string{"dinkel"}}}}},
	}
	if diff := cmp.Diff(want, r); err != nil || diff != "" {
		t.Errorf("POST: %v\n%s", err, diff)
	}
}

func TestRefusals(t *testing.T) {
	for _, q := range []url.Values{
		{},
		{"query": {" "}},
		{"query": {strings.Repeat("é", MostQuery+1)}},
		{"query": {"a"}, "verbose": {"yes"}},
		{"query": {"a"}, "datetimeReference": {"tomorrow"}},
	} {
		_, err := ParseGet(q)
		refused(t, "GET", err, "BadArgument")
	}
	for _, body := range []string{
		``, `null`, `[]`, `{}`, `{"query": 3}`, `{"query": "a"} {}`, `{"query": "a", "colour": 1}`, `{"query": "a", "options": {"datetimeReference": "x"}}`,
		`{"query": "a", "externalEntities": [{"entityName": "b"}]}`,
		`{"query": "a", "externalEntities": [{"entityName": "b", "startIndex": 0, "entityLength": 0}]}`,
		`{"query": "a", "externalEntities": [{"entityName": "b", "startIndex": 1, "entityLength": 1}]}`,
		`{"query": "a", "externalEntities": [{"entityName": "b", "startIndex": -1, "entityLength": 1}]}`,
		`{"query": "🍰", "externalEntities": [{"entityName": "b", "startIndex": 1, "entityLength": 1}]}`,
		`{"query": "a", "dynamicLists": [{"listEntityName": "b", "requestLists": []}]}`,
		`{"query": "a", "dynamicLists": [{"listEntityName": "b", "requestLists": [{"synonyms": ["c"]}]}]}`,
	} {
		_, err := ParsePost(nil, []byte(body))
		refused(t, body, err, "BadArgument")
	}
	for _, body := range []string{
		``, `{}`, `{"kind":"Orchestration"}`,
		`{"kind":"Conversation","parameters":{"projectName":"p","deploymentName":"d"}}`,
		`{"kind":"Conversation","analysisInput":{"conversationItem":{"text":"x"}},"parameters":{"projectName":"p"}}`,
		`{"kind":"Conversation","analysisInput":{"conversationItem":{"text":"x","modality":"audio"}},"parameters":{"projectName":"p","deploymentName":"d"}}`,
		`{"kind":"Conversation","analysisInput":{"conversationItem":{"text":"x"}},"parameters":{"projectName":"p","deploymentName":"d","stringIndexType":"bytes"}}`,
		`{"kind":"Conversation","analysisInput":{"conversationItem":{"text":"x","unknown":1}}}`,
	} {
		_, err := ParseAnalysis([]byte(body))
		refused(t, body, err, "InvalidArgument")
	}
}

// What a client reads when its body is wrong has no Go in it.
func TestUnreadBodies(t *testing.T) {
	for body, want := range map[string]string{
		``:                                       "ends too early",
		`{"query": "a"`:                          "ends too early",
		`[]`:                                     "it is of the type array, not an object",
		`{"query": 3}`:                           "query can't be of the type number",
		`{"options": {"datetimeReference": {}}}`: "options.datetimeReference can't be of the type object",
		`{"colour": 1}`:                          `unknown field "colour"`,
		`{"query": nothing}`:                     "invalid character 'o'",
	} {
		if _, err := ParsePost(nil, []byte(body)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Go ") {
			t.Errorf("%s: %v; want it to say %q", body, err, want)
		}
	}
}

func refused(t *testing.T, what string, err error, code string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Status != 400 || e.Code != code || e.Message == "" {
		t.Errorf("%s: %v", what, err)
		return
	}
	var body struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(e.JSON(), &body); err != nil || body.Error.Code != code || body.Error.Message != e.Message {
		t.Errorf("%s: %s", what, e.JSON())
	}
}

func TestWithExternal(t *testing.T) {
	u := Understanding{Text: "abc def", Entities: []Entity{{Start: 0, End: 3, Name: "a"}, {Start: 4, End: 7, Name: "b"}}}
	r := Request{External: []Entity{{Start: 1, End: 2, Name: "a", Kind: finder.External, Value: "A"}, {Start: 4, End: 5, Name: "c", Kind: finder.External}}}
	for _, prefer := range []bool{false, true} {
		r.PreferExternal = prefer
		first := `"abc"`
		if prefer {
			first = `"A"`
		}
		same(t, `{"query": "abc def", "prediction": {"topIntent": "None", "intents": {}, "entities": {"a": [`+first+`], "b": ["def"], "c": ["d"]}}}`, u.WithExternal(r).Response(r))
	}
}

func FuzzParsePost(f *testing.F) {
	f.Add([]byte(`{"query":"a 🍰","options":{"datetimeReference":"2026-03-05"},"externalEntities":[{"entityName":"b","startIndex":0,"entityLength":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParsePost(nil, b)
		if err != nil {
			refused(t, "POST", err, "BadArgument")
			return
		}
		if !json.Valid((Understanding{Text: r.Query}).WithExternal(r).Response(r)) {
			t.Errorf("no JSON")
		}
	})
}

func FuzzParseAnalysis(f *testing.F) {
	f.Add([]byte(`{"kind":"Conversation","analysisInput":{"conversationItem":{"id":"1","text":"x"}},"parameters":{"projectName":"p","deploymentName":"d"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAnalysis(b)
		if err != nil {
			refused(t, "analyze", err, "InvalidArgument")
			return
		}
		if !json.Valid((Understanding{Text: a.Text, Entities: []Entity{{End: length(a.Text), Name: "x"}}}).Analyze(a)) {
			t.Errorf("no JSON")
		}
	})
}
