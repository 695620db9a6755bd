// The words that street_address knows: kinds of streets by language and by where they stand, and
// what looks like one without being one. Small letters; folded are ASCII letters only, so that
// Greek and Cyrillic words that begin a name stand here twice.
//
// Source: national postal guides.
#pragma once

#include <string_view>

#include "route/word_set.h"

namespace hearth::route {

// clang-format off
// Behind the name; the first ones are told from other words by being written small too.
inline constexpr std::string_view kAfterList[] = {
    "street", "road", "avenue", "boulevard", "lane", "drive", "highway", "terrace", "crescent",
    "parkway",
    "st", "rd", "ave", "av", "blvd", "ln", "dr", "hwy", "ter", "pkwy", "ct", "court", "place",
    "pl", "square", "sq",
    "way", "close", "circle", "cir", "trail", "loop", "walk", "row", "alley", "hill", "hills",
    "park", "grove",
    "gardens", "green", "mews", "rise", "view", "heights", "path", "pike", "turnpike", "plaza",
    "point", "ridge",
    "run", "valley", "crossing", "crossroad", "bend", "bypass", "causeway", "cove", "coves",
    "creek", "estate",
    "expressway", "extension", "field", "fields", "flats", "ford", "forest", "forge", "forges",
    "fork", "freeway",
    "garden", "gateway", "glen", "harbor", "haven", "hollow", "island", "isle", "junction",
    "key", "knoll", "lake",
    "landing", "lodge", "mall", "manor", "meadow", "meadows", "mill", "mills", "mission",
    "mount", "mountain",
    "orchard", "oval", "overpass", "passage", "pine", "pines", "plain", "plains", "port",
    "prairie", "radial",
    "ramp", "ranch", "rapid", "rapids", "rest", "river", "route", "rue", "shoal", "shore",
    "shores", "skyway",
    "spring", "springs", "spur", "station", "stravenue", "stream", "summit", "throughway",
    "trace", "track",
    "trafficway", "tunnel", "union", "via", "viaduct", "village", "ville", "vista", "well",
    "wells"};
inline constexpr std::size_t kAfterPlain = 10;
// Up to here abbreviations that are clear when capital.
inline constexpr std::size_t kAfterShort = 24;

// Before the name.
inline constexpr std::string_view kBeforeList[] = {
    "rue", "avenue", "boulevard", "place", "chemin", "allée", "quai", "impasse", "via", "viale",
    "piazza", "corso",
    "vicolo", "largo", "strada", "calle", "avenida", "avda", "av", "paseo", "plaza", "carrer",
    "camino", "ronda",
    "rua", "travessa", "praça", "alameda", "estrada", "rodovia", "ul", "ulica", "aleja", "al",
    "plac", "os", "ulice",
    "náměstí", "trg", "cesta", "strada", "bulevardul", "calea", "carrera", "cra", "transversal",
    "diagonal", "calzada", "jirón", "rambla", "passeig", "rue",
    "bd", "blvd", "bulevard", "вулиця", "вул", "Вул", "Οδός", "Улица", "Ул",
    "улица", "ул", "переулок", "площадь", "шоссе", "бульвар", "проспект", "пр",
    "οδός",
    "λεωφόρος", "λεωφ", "πλατεία", "jalan", "jl", "rruga", "nám", "dr", "c/", "cami", "rúa", "vía",
    "plaça",
    "vico"};

// Endings of a name that is a street's, where a number follows.
inline constexpr std::string_view kEndingList[] = {
    "strasse", "straße", "str", "gasse", "weg", "platz", "allee", "gürtel", "damm", "ufer",
    "steig", "graben",
    "chaussee", "markt", "straat", "laan", "plein", "dijk", "kade", "gracht", "singel", "dreef",
    "baan",
    "gatan", "vägen", "gata", "gränd", "stigen", "torget", "vej", "gade", "stræde", "torv",
    "allé", "boulevard",
    "veien", "vegen", "gate", "gaten", "vei", "krogen", "katu", "tie", "kuja", "polku", "raitti",
    "rinne", "ranta",
    "kaari", "braut", "vegur", "götu", "stígur", "utca", "út", "útja", "tér", "tere", "rkp",
    "körút", "sétány", "u", "ulica", "ulice",
    "ova", "eva", "ská", "cesta", "tänav", "tee", "puiestee", "iela", "gatvė", "jalan",
    "caddesi", "cad", "sokak",
    "sokağı", "bulvarı", "třída", "quadra", "vænget", "parken",
    "bakken", "haugen", "terrasse", "stien", "brekke"};

// What is numbered without being a street: the number alone, behind a word such as "located", says
// nothing.
inline constexpr std::string_view kThingsList[] = {
    "route", "highway", "interstate", "freeway", "us", "exit", "junction", "line", "platform",
    "gate", "terminal", "pier", "track", "temple", "altar", "stela", "flight", "channel", "studio",
    "hill", "lake", "site", "zone", "region", "area", "sector", "district", "ward", "unit", "hall",
    "stage", "top", "model", "type", "series", "mark", "group", "pier", "din", "iso", "en"};

// Small words before a kind of street that are no name: "la rue 2", "der Weg 7".
inline constexpr std::string_view kArticlesList[] = {
    "la", "le", "les", "el", "il", "lo", "the", "der", "die", "das", "den", "dem", "een", "het",
    "de", "une", "un", "una", "eine", "ein", "im", "cette", "cet", "esta", "diese", "dieser"};

// Units and the like that tell a length of a street from a house on it.
inline constexpr std::string_view kUnitsList[] = {
    "m", "km", "meter", "metern", "metres", "meters", "miles", "mile", "feet", "kilometer",
    "kilometern", "kilometers", "kilometres", "minuten", "minutes", "minutos", "uhr", "jahre",
    "jahren", "years", "prozent", "percent", "euro", "mal", "fois", "veces", "times", "stunden",
    "hours", "tage", "days", "stück", "grad", "et", "und", "führt", "est", "ist"};

// Endings that many a first name and plain word has too: these need more beside them.
inline constexpr std::string_view kWeakEndings[] = {
    "tie", "gate", "ova", "eva", "tee", "str", "ring", "berg", "dal"};

inline constexpr std::string_view kNoNamesList[] = {
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november",
    "december", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov",
    "dec", "chapter",
    "figure", "fig", "table", "section", "page", "step", "version", "act", "scene", "part",
    "volume", "vol", "no",
    "number", "day", "week", "level", "item", "question", "problem", "phase", "round", "game",
    "season", "episode",
    "article", "line", "python", "windows", "office", "monday", "tuesday", "wednesday",
    "thursday", "friday",
    "saturday", "sunday", "about", "over", "in", "at", "on", "and", "the", "for", "of", "from",
    "to", "is", "are",
    "was", "by", "with", "than", "or", "phone", "mobile", "tel", "fax", "desk", "card", "zip",
    "ssn", "age", "id",
    "i", "he", "she", "it", "we", "they", "you", "if", "so", "then", "each", "a", "an", "his",
    "her", "its",
    "their", "total", "call", "grade", "class", "room", "team", "group", "lot", "pay", "has",
    "have", "had", "blocks", "block", "miles", "mile", "more", "other", "code",
    "update", "build", "release", "patch", "beta", "alpha", "edition", "revision", "milestone"};
// clang-format on
inline constexpr WordSet kAfter(kAfterList);
inline constexpr WordSet kBefore(kBeforeList);
inline constexpr WordSet kNoNames(kNoNamesList);
inline constexpr WordSet kThings(kThingsList);
inline constexpr WordSet kArticles(kArticlesList);
inline constexpr WordSet kUnits(kUnitsList);
inline constexpr EndingSet kEndings(kEndingList);

}  // namespace hearth::route
