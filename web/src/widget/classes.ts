// What stands in for the tables of Unicode's kinds of characters: linkify-it
// builds expressions without the flag u of the sources, so they are ranges. The
// punctuation is that of Europe, Hebrew, Arabic, India and East Asia.

export const Any = /[^\ud800-\udfff]|[\ud800-\udbff][\udc00-\udfff]?|[\udc00-\udfff]/;
export const Cc = /[\0-\x1f\x7f-\x9f]/;
export const Z = /[ \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
export const P = /[!-#%-*,-/:;?@[-\]_{}¡§«¶·»¿;·՚-՟։֊־׀׃׆׳״؉؊،؍؛؝-؟٪-٭۔।॥๏๚๛‐-‧‰-⁃⁅-⁑⁓-⁞、-〃〈-】〔-〟〰〽・！-＃％-＊，-／：；？＠［-］＿｛｝｟-･]/;
export const S = /\p{S}/u;
