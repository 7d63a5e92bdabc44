// Light or dark. The dark colours are a style sheet of their own whose medium is
// the system's wish, all, or none.

export function paint(theme: string): void {
  const dark = document.getElementById("dark");
  if (!(dark instanceof HTMLLinkElement)) return;
  dark.media = theme === "dark" ? "all" : theme === "light" ? "not all" : "(prefers-color-scheme: dark)";
  document.documentElement.style.colorScheme = theme === "dark" || theme === "light" ? theme : "";
  for (const m of document.querySelectorAll<HTMLMetaElement>('meta[name="theme-color"]')) {
    const isDark = m.dataset.for === "dark";
    m.media = theme === "" ? `(prefers-color-scheme: ${isDark ? "dark" : "light"})` : (theme === "dark") === isDark ? "all" : "not all";
  }
}
