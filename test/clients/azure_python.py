"""The published clients of LUIS and CLU, which change nothing but their host."""

import datetime

import azure.core.exceptions
from azure.ai.language.conversations import ConversationAnalysisClient
from azure.cognitiveservices.language.luis.runtime import LUISRuntimeClient
from azure.cognitiveservices.language.luis.runtime.models import (
    DynamicList, ErrorException, ExternalEntity, PredictionRequest, PredictionRequestOptions, RequestList)
from azure.core.credentials import AzureKeyCredential
from msrest.authentication import CognitiveServicesCredentials

from harness import Api, check

APP = "60340f5f-99c1-4043-8ab9-c810ff16252d"  # the id that the configuration gives
NOW = datetime.datetime(2026, 3, 4, 10, 30, tzinfo=datetime.timezone.utc)


def luis(world, key=None):
    return LUISRuntimeClient(world.guide.url, CognitiveServicesCredentials(key or world.key))


def ask(query, **kw):
    return PredictionRequest(query=query, options=PredictionRequestOptions(datetime_reference=NOW), **kw)


def story_luis_intent_and_entities(world):
    got = luis(world).prediction.get_slot_prediction(
        APP, "production", ask("\U0001F370 can I book a table for four tomorrow at 8 pm"), verbose=True, show_all_intents=True, log=False)
    p = got.prediction
    check(p.top_intent, "book_table")
    assert p.intents["book_table"].score > 0.5 and "None" in p.intents and len(p.intents) == 7, p.intents
    check(p.entities["booking"][0]["people"] if "booking" in p.entities else p.entities["people"], [4])
    inner = p.entities["booking"][0] if "booking" in p.entities else p.entities
    when = inner["when"] if "when" in inner else inner["time"]
    check(when[0]["values"][0]["resolution"][-1]["value"], "2026-03-05 20:00:00")
    spot = inner["$instance"]["people"][0]
    # The cake is two UTF-16 units.
    check((spot["startIndex"], spot["length"], spot["text"]), (26, 4, "four"))


def story_luis_only_what_was_asked_for(world):
    p = luis(world).prediction.get_slot_prediction(APP, "Production", ask("thank you so much")).prediction
    check((p.top_intent, list(p.intents)), ("thanks", ["thanks"]))
    assert "$instance" not in p.entities


def story_luis_names_and_versions(world):
    by_name = luis(world).prediction.get_slot_prediction("cityguide", "production", ask("how much is a day ticket")).prediction
    version = Api(world.guide, Authorization="Bearer " + world.key).get("/api/v1/understanding/models").json["apps"][0]["live"]
    by_version = luis(world).prediction.get_version_prediction(APP, version, ask("how much is a day ticket")).prediction
    check((by_name.top_intent, by_version.top_intent), ("tickets", "tickets"))
    check(by_name.intents["tickets"].score, by_version.intents["tickets"].score)


def story_luis_entities_and_lists_of_the_caller(world):
    query = "when does the lighthouse open"
    lists = [DynamicList(list_entity_name="place", request_lists=[RequestList(name="more", canonical_form="Lighthouse", synonyms=["lighthouse"])])]
    p = luis(world).prediction.get_slot_prediction(APP, "production", ask(query, dynamic_lists=lists)).prediction
    check(p.entities["place"], [["Lighthouse"]])
    found = [ExternalEntity(entity_name="building", start_index=14, entity_length=10, resolution={"id": 7})]
    p = luis(world).prediction.get_slot_prediction(APP, "production", ask(query, external_entities=found), verbose=True).prediction
    check(p.entities["building"], [{"id": 7}])


def story_luis_errors_are_its_own(world):
    for call, status, code in (
            (lambda: luis(world, "pk-wrong-0123456789abcdef").prediction.get_slot_prediction(APP, "production", ask("hi")), 401, "401"),
            (lambda: luis(world).prediction.get_slot_prediction("nobody", "production", ask("hi")), 404, "NotFound"),
            (lambda: luis(world).prediction.get_slot_prediction(APP, "staging", ask("hi")), 404, "NotFound"),
            (lambda: luis(world).prediction.get_slot_prediction(APP, "production", ask(" ")), 400, "BadArgument"),
            (lambda: luis(world).prediction.get_slot_prediction(APP, "production", ask("x" * 501)), 400, "BadArgument")):
        try:
            got = call()
        except ErrorException as e:
            check((e.response.status_code, e.error.error.code), (status, code))
            assert e.error.error.message
        else:
            raise AssertionError(f"no error, but {got!r}")


def story_luis_v2_and_keys_in_the_address(world):
    path = f"/luis/v2.0/apps/{APP}?subscription-key={world.key}&verbose=true&timezoneOffset=60&q=how+much+is+a+day+ticket"
    got = Api(world.guide).get(path)
    check((got.status, got.json["topScoringIntent"]["intent"], len(got.json["intents"])), (200, "tickets", 7))
    check(Api(world.guide).get(path.replace(world.key, "pk-wrong-0123456789abcdef")).status, 401)


def clu(world, key=None):
    return ConversationAnalysisClient(world.guide.url, AzureKeyCredential(key or world.key), retry_total=0)


def task(text, project="cityguide", deployment="production"):
    return {"kind": "Conversation",
            "analysisInput": {"conversationItem": {"id": "1", "participantId": "1", "modality": "text", "language": "en", "text": text}},
            "parameters": {"projectName": project, "deploymentName": deployment, "verbose": True, "stringIndexType": "UnicodeCodePoint"}}


def story_clu_intent_and_entities(world):
    got = clu(world).analyze_conversation(task("\U0001F370 when does the fortress open"))
    p = got["result"]["prediction"]
    check((got["kind"], p["topIntent"], p["projectKind"]), ("ConversationResult", "opening_hours", "Conversation"))
    check(p["intents"][0]["category"], "opening_hours")
    place = [e for e in p["entities"] if e["category"] == "place"][0]
    check((place["offset"], place["length"], place["text"]), (16, 8, "fortress"))
    check(place["extraInformation"][0], {"extraInformationKind": "ListKey", "key": "Castle"})


def story_clu_errors_are_its_own(world):
    for call, status in (
            (lambda: clu(world, "pk-wrong-0123456789abcdef").analyze_conversation(task("hi")), 401),
            (lambda: clu(world).analyze_conversation(task("hi", project="nobody")), 404),
            (lambda: clu(world).analyze_conversation(task(" ")), 400)):
        try:
            got = call()
        except azure.core.exceptions.HttpResponseError as e:
            check(e.status_code, status)
            assert e.error and e.error.message, e
        else:
            raise AssertionError(f"no error, but {got!r}")
