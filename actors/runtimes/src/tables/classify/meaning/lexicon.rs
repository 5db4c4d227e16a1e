//! Words of column names in several languages. A missing word makes a headline less well ordered, never a
//! figure wrong.

/// What a word says about a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Digits that are not a quantity.
    Identifier,
    /// A part of a date.
    Calendar,
    /// A figure that does not add up.
    Ratio,
    /// An amount or a ratio.
    RatioOrAmount,
    /// A price.
    Price,
    /// A price for one unit, in one word.
    UnitPrice,
    /// One unit.
    Unit,
    /// A total up to a row, or a balance at a time.
    Running,
    /// A plan or an earlier period.
    Plan,
    /// Revenue.
    Revenue,
    /// Profit.
    Profit,
    /// Cost.
    Cost,
    /// Something that is better when it is less.
    Burden,
    /// A number of things.
    Quantity,
    /// An amount.
    Amount,
    /// A total.
    Total,
}

/// Complete words, separated by spaces.
const WORDS: &[(Word, &str)] = &[
    (
        Word::Identifier,
        "id ids uuid guid code codes zip zipcode postcode postal plz cap cep number num no nr nummer \
         número numero numéro n° nº phone tel telefon telephone téléphone telefono teléfono telefone \
         mobile fax sku ean isbn gtin upc iban account konto invoice rechnung ref reference referenz \
         serial key lat lon lng latitude longitude siret siren kod código codigo codice kennung",
    ),
    (
        Word::Calendar,
        "year month day week quarter hour minute fy jahr monat tag woche quartal stunde année annee mois \
         jour semaine trimestre año ano mes mês día dia semana anno mese giorno settimana jaar maand dag \
         år måned månad rok miesiąc vuosi kuukausi yıl год месяц 年 月 日",
    ),
    (
        Word::Ratio,
        "rate rates ratio pct percent percentage share avg average mean median index score rating grade \
         temperature temp age speed prozent anteil quote satz kurs durchschnitt mittelwert alter \
         temperatur taux pourcentage moyenne ratios tasa porcentaje promedio media média taxa percentuale \
         tasso gemiddelde andel średnia utilisation utilization conversion density probability yield bps \
         ctr roi nps yoy mom qoq rank ranking rang priority version stars sterne uptime latency humidity ph gpa bmi \
         percentile roas",
    ),
    (
        Word::RatioOrAmount,
        "margin margins marge margen margine margem discount rabatt remise descuento sconto desconto \
         markup commission growth wachstum churn",
    ),
    (
        Word::Price,
        "price prices preis preise prix precio precios prezzo prezzi preço preco prijs pris cena hinta \
         fiyat цена 価格 价格 arpu aov",
    ),
    (
        Word::UnitPrice,
        "stückpreis stueckpreis einzelpreis einheitspreis stückkosten stueckkosten styckpris cpc cpm cpa cpl cac eps",
    ),
    (Word::Unit, "unit each einzel stück stueck unitaire unitario unitário"),
    (
        Word::Running,
        "cumulative cumul cumulé cumulated cum running ytd mtd qtd kumuliert kumulativ aufgelaufen \
         acumulado accumulato cumulatief balance saldo solde kontostand bestand inventory stock headcount \
         narastająco",
    ),
    (
        Word::Plan,
        "plan planned budget target forecast goal prior previous ziel soll vorjahr prognose objectif \
         prévision objetivo presupuesto obiettivo orçamento",
    ),
    (
        Word::Revenue,
        "revenue revenues sales turnover umsatz umsätze umsaetze erlös erlöse erloes ventes affaires \
         recettes ventas ingresos vendite ricavi fatturato vendas receita receitas omzet omsetning \
         omsætning omsättning intäkter przychód przychody sprzedaż tržby myynti liikevaihto gelir выручка \
         売上 销售额 arr mrr gmv bookings billings",
    ),
    (
        Word::Profit,
        "profit profits ebit ebitda earnings gewinn ergebnis bénéfice benefice beneficio ganancia utile \
         utili lucro winst vinst zysk прибыль 利益 利润",
    ),
    (
        Word::Cost,
        "cost costs cogs expense expenses spend spending tax taxes vat fee fees kosten aufwand ausgaben \
         steuer gebühr coût coûts cout couts dépenses frais charges coste costes costo costos costi \
         gastos gasto custo custos despesas spese kostnad kostnader omkostninger koszt koszty náklady \
         kulut maliyet расходы затраты 費用 成本",
    ),
    (
        Word::Burden,
        "returns refund refunds churn complaint complaints error errors defect defects loss losses \
         retouren verlust pertes cancellations bounce",
    ),
    (
        Word::Quantity,
        "units quantity quantities qty volume orders customers users count pieces items visits visitors \
         sessions clicks views hours days tickets employees litres liters menge mengen stück stueck stk \
         anzahl bestellungen kunden stunden tage liter quantité quantite qté nombre commandes clients \
         unités cantidad unidades pedidos clientes quantità quantita pezzi ordini quantidade aantal antal \
         antall ilość sztuki množství määrä adet количество 数量 weight gewicht poids peso kg tons tonnes \
         kwh km",
    ),
    (
        Word::Amount,
        "amount amounts value values income betrag beträge betraege wert montant montants valeur importe \
         monto valor importo valore bedrag beløb belopp kwota částka summa tutar сумма 金額 金额",
    ),
    (Word::Total, "total totals gesamt summe extended totale somme razem totaal suma"),
];

/// Ends of compound words, as German and its neighbours build them.
const ENDS: &[(Word, &str)] = &[
    (Word::Identifier, "nummer kennung leitzahl _id"),
    (Word::UnitPrice, "stückpreis stueckpreis einzelpreis einheitspreis kilopreis"),
    (Word::Price, "preis preise prijs"),
    (
        Word::Ratio,
        "quote anteil prozent steuersatz zinssatz prozentsatz wechselkurs durchschnitt fehlerrate \
         wachstumsrate",
    ),
    (Word::RatioOrAmount, "marge rabatt"),
    (Word::Running, "saldo bestand"),
    (Word::Cost, "kosten aufwand steuer gebühr gebühren"),
    (Word::Profit, "gewinn ergebnis"),
    (Word::Quantity, "menge anzahl stunden"),
    (Word::Revenue, "umsatz umsätze erlös erlöse omzet"),
    (Word::Amount, "betrag wert bedrag summe"),
];

/// Words for one thing. Whole numbers under such a name are its ids.
const THINGS: &str = "customer client kunde cliente klant kund store shop branch filiale product produkt produit producto \
    prodotto article artikel item employee mitarbeiter employé empleado vendor supplier lieferant fournisseur order \
    bestellung commande pedido ordine transaction user member contract vertrag project projekt batch lot room table \
    line row zeile ligne fila position pos index device sensor machine vehicle";

/// True if a word in lower case is the name of one thing.
pub(super) fn is_thing(word: &str) -> bool {
    THINGS.split_ascii_whitespace().any(|thing| thing == word)
}

/// Characters of a compound word before its end.
const COMPOUND_CHARS_MIN: usize = 3;

/// Finds what a word in lower case says; its end decides if the complete word is not known.
pub(super) fn word_of(word: &str) -> Option<Word> {
    let complete = WORDS.iter().find(|(_, words)| words.split_ascii_whitespace().any(|known| known == word));
    let is_compound =
        |end: &str| word.strip_suffix(end).is_some_and(|before| before.chars().count() >= COMPOUND_CHARS_MIN);
    let compound = || ENDS.iter().find(|(_, ends)| ends.split_ascii_whitespace().any(is_compound));
    complete.or_else(compound).map(|(kind, _)| *kind)
}
